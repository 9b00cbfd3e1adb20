"""Minimal character-level GRU language model."""
import torch
import torch.nn as nn

data = (
    "the rain in spain stays mainly in the plain. in hartford, hereford and hampshire "
    "hurricanes hardly ever happen. how kind of you to let me come. "
) * 4
chars = sorted(list(set(data)))
data_size, vocab_size = len(data), len(chars)
print("data has %d characters, %d unique." % (data_size, vocab_size))
char_to_ix = {ch: i for i, ch in enumerate(chars)}
ids = torch.tensor([char_to_ix[c] for c in data])

hidden_size, seq_length = 48, 24
torch.manual_seed(1337)


class CharRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, 24)
        self.rnn = nn.GRU(24, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, vocab_size)

    def forward(self, x, h=None):
        y, h = self.rnn(self.emb(x), h)
        return self.out(y), h


model = CharRNN()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for n in range(60):
    start = torch.randint(0, data_size - seq_length - 1, (16,))
    inputs = torch.stack([ids[s : s + seq_length] for s in start])
    targets = torch.stack([ids[s + 1 : s + seq_length + 1] for s in start])
    logits, _ = model(inputs)
    loss = nn.functional.cross_entropy(logits.reshape(-1, vocab_size), targets.reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
    optimizer.step()
    if n % 20 == 0:
        print("iter %d, loss: %.8f" % (n, loss.item()))

with torch.no_grad():
    ix, h, text = ids[:1].view(1, 1), None, ""
    for _ in range(60):
        logits, h = model(ix, h)
        ix = torch.multinomial(logits[0, -1].softmax(0), 1).view(1, 1)
        text += chars[ix.item()]
print("----\n %s \n----" % text)
