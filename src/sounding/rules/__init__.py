"""The rules, in the order of their codes; a list that you can read is the registry."""

from sounding.rules.accumulation import accumulated_gradients, undivided_accumulation
from sounding.rules.adaptive import epsilon_dominates, l2_in_adam
from sounding.rules.batch_norm import (
    batch_too_small,
    frozen_norm_in_training_mode,
    stale_statistics,
)
from sounding.rules.blocked import blocked_gradient
from sounding.rules.clipping import clipping_sets_the_rate, gradient_spikes
from sounding.rules.decay import weight_decay_too_strong
from sounding.rules.dropout import dropout_always_on, dropout_too_strong
from sounding.rules.dying import units_died
from sounding.rules.evaluation import evaluated_in_training_mode, evaluation_inputs_differ
from sounding.rules.evaluation_mode import trained_in_evaluation_mode
from sounding.rules.finding import Finding, Outcome
from sounding.rules.finetuning import features_destroyed
from sounding.rules.finite import nonfinite, nonfinite_loss
from sounding.rules.half_precision import half_precision_underflow
from sounding.rules.initial_output import initial_output, output_bias
from sounding.rules.initialisation import (
    initialisation_mismatch,
    symmetric_units,
    zero_initialisation,
)
from sounding.rules.inputs import duplicated_samples, unscaled_inputs
from sounding.rules.learning_rate import learning_rate_too_high, learning_rate_too_low
from sounding.rules.linear_network import linear_network
from sounding.rules.loading import waits_for_data
from sounding.rules.loss_input import (
    constant_output,
    missing_log,
    sigmoid_before_bce_with_logits,
    softmax_before_cross_entropy,
    softmax_over_batch,
)
from sounding.rules.loss_output import ascent, broadcast_loss, wrong_loss_for_classes
from sounding.rules.mixing import samples_mixed
from sounding.rules.noise import noisy_gradient
from sounding.rules.norm_scales import dead_scales
from sounding.rules.output_range import output_range
from sounding.rules.overfitting import overfitting
from sounding.rules.ownership import not_optimised, unregistered_parameters
from sounding.rules.plateau import oscillation, plateau
from sounding.rules.progress import loop_interferes, nothing_learnt
from sounding.rules.propagation import (
    exploding_gradient,
    exploding_signal,
    vanishing_gradient,
    vanishing_signal,
)
from sounding.rules.pulls import reshaped_scores, unused_samples
from sounding.rules.ranks import ranks_apart, same_data
from sounding.rules.rare_rows import decay_on_rare_rows
from sounding.rules.relapse import learning_lost
from sounding.rules.rule import Rule, run
from sounding.rules.saddle import saddle
from sounding.rules.schedule import schedule_ended_early
from sounding.rules.sequences import answer_in_the_input
from sounding.rules.targets import (
    class_imbalance,
    label_range,
    uninformative_labels,
    unscaled_targets,
)
from sounding.rules.units import dead_units, saturated_units
from sounding.rules.warm_up import warm_up_missing

RULES = (
    Rule("SD101", "non-finite", nonfinite),
    Rule("SD102", "half-precision-underflow", half_precision_underflow),
    Rule("SD103", "non-finite-loss", nonfinite_loss),
    Rule("SD104", "nothing-learnt", nothing_learnt),
    Rule("SD201", "vanishing-gradient", vanishing_gradient),
    Rule("SD202", "exploding-gradient", exploding_gradient),
    Rule("SD203", "dead-units", dead_units),
    Rule("SD204", "saturated-units", saturated_units),
    Rule("SD205", "vanishing-signal", vanishing_signal),
    Rule("SD206", "exploding-signal", exploding_signal),
    Rule("SD207", "blocked-gradient", blocked_gradient),
    Rule("SD208", "not-optimised", not_optimised),
    Rule("SD209", "unregistered-parameters", unregistered_parameters),
    Rule("SD210", "accumulated-gradients", accumulated_gradients),
    Rule("SD211", "undivided-accumulation", undivided_accumulation),
    Rule("SD212", "noisy-gradient", noisy_gradient),
    Rule("SD213", "loop-interferes", loop_interferes),
    Rule("SD301", "zero-initialisation", zero_initialisation),
    Rule("SD302", "symmetric-units", symmetric_units),
    Rule("SD303", "initialisation-mismatch", initialisation_mismatch),
    Rule("SD304", "initial-output", initial_output),
    Rule("SD305", "output-bias", output_bias),
    Rule("SD401", "softmax-before-cross-entropy", softmax_before_cross_entropy),
    Rule("SD402", "sigmoid-before-bce-with-logits", sigmoid_before_bce_with_logits),
    Rule("SD403", "constant-output", constant_output),
    Rule("SD404", "softmax-over-batch", softmax_over_batch),
    Rule("SD405", "broadcast-loss", broadcast_loss),
    Rule("SD406", "wrong-loss-for-classes", wrong_loss_for_classes),
    Rule("SD407", "output-range", output_range),
    Rule("SD408", "uninformative-labels", uninformative_labels),
    Rule("SD409", "unscaled-inputs", unscaled_inputs),
    Rule("SD410", "unscaled-targets", unscaled_targets),
    Rule("SD411", "class-imbalance", class_imbalance),
    Rule("SD412", "ascent", ascent),
    Rule("SD413", "linear-network", linear_network),
    Rule("SD414", "missing-log", missing_log),
    Rule("SD415", "label-range", label_range),
    Rule("SD416", "duplicated-samples", duplicated_samples),
    Rule("SD417", "answer-in-the-input", answer_in_the_input),
    Rule("SD418", "samples-mixed", samples_mixed),
    Rule("SD419", "reshaped-scores", reshaped_scores),
    Rule("SD420", "unused-samples", unused_samples),
    Rule("SD501", "learning-rate-too-high", learning_rate_too_high),
    Rule("SD502", "learning-rate-too-low", learning_rate_too_low),
    Rule("SD503", "schedule-ended-early", schedule_ended_early),
    Rule("SD504", "weight-decay-too-strong", weight_decay_too_strong),
    Rule("SD505", "decay-on-rare-rows", decay_on_rare_rows),
    Rule("SD506", "gradient-spikes", gradient_spikes),
    Rule("SD507", "clipping-sets-the-rate", clipping_sets_the_rate),
    Rule("SD508", "features-destroyed", features_destroyed),
    Rule("SD509", "warm-up-missing", warm_up_missing),
    Rule("SD510", "epsilon-dominates", epsilon_dominates),
    Rule("SD511", "l2-in-adam", l2_in_adam),
    Rule("SD512", "saddle", saddle),
    Rule("SD601", "batch-too-small-for-batch-norm", batch_too_small),
    Rule("SD602", "evaluated-in-training-mode", evaluated_in_training_mode),
    Rule("SD603", "dropout-too-strong", dropout_too_strong),
    Rule("SD604", "functional-dropout-always-on", dropout_always_on),
    Rule("SD605", "stale-statistics", stale_statistics),
    Rule("SD606", "dead-scales", dead_scales),
    Rule("SD607", "evaluation-inputs-differ", evaluation_inputs_differ),
    Rule("SD608", "frozen-batch-norm-in-training-mode", frozen_norm_in_training_mode),
    Rule("SD609", "trained-in-evaluation-mode", trained_in_evaluation_mode),
    Rule("SD701", "learning-lost", learning_lost),
    Rule("SD702", "ranks-apart", ranks_apart),
    Rule("SD703", "same-data-on-ranks", same_data),
    Rule("SD704", "units-died", units_died),
    Rule("SD705", "plateau", plateau, last=True),
    Rule("SD706", "over-fitting", overfitting),
    Rule("SD707", "slow-data-loader", waits_for_data),
    Rule("SD708", "oscillation", oscillation, last=True),
)

__all__ = ["RULES", "Finding", "Outcome", "Rule", "run"]
