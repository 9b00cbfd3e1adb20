"""The trainers, loggers and test tools that people already use, each in a file of its own.

Nothing is imported here: a file imports its host when it is itself imported, and
`pip install 'sounding[integrations]'` installs all of them.

Trainers: `lightning.SoundingCallback`, `transformers.SoundingCallback`,
`accelerate.SoundingTracker`.
Loggers, for ``sounding.watch(..., to=...)``: `tensorboard.TensorBoard`, `wandb.WandB`,
`mlflow.MLflow`, and `anything.Anything` for every function of (values, step).
Tests and CI: `pytest`, `sarif`, `github`.
"""
