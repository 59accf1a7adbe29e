"""Sparse momentum in PyTorch, as in its authors' code, to compare with ours.

    python benchmarks/sparse_momentum_torch.py --mnist=FOLDER/mnist.npz --model=lenet_300_100 \
        --density=0.2 --seed=1

trains a network on MNIST by the paper's recipe (batch 100, rate 0.1 that falls tenfold every 25,000
steps, Nesterov momentum 0.9, weight decay 5e-4, the last 10% held out) and prints the loss, the
largest loss of the first 20 steps and the test error after each epoch. A density of 1 trains
without masks; `--zero_biases` starts biases at zero, as Keras does, without weight decay. If a
network guesses after its sixth epoch or later, it is dead, and its training stops.

It needs only PyTorch and NumPy. It was rewritten from "Sparse networks from scratch", arXiv
1907.04840, and the published code. It keeps rules of the code that the paper omits: masks are
random, without an exact count; a layer that is over 80% full and has more than an even share is
pruned less; at most 99% of the free places are filled; missing weights are grown in the next
update; momentum outside the masks starts from the mean.
"""

import argparse
import math

import numpy as np
import torch
from torch import nn

BATCH, LEARNING_RATE, DROP_EVERY, L2, HELD_OUT = 100, 0.1, 25_000, 5e-4, 0.1
PRUNE_RATE, LAST_PRUNE_RATE = 0.5, 0.005
DEAD_ERROR, DEAD_EPOCH = 80.0, 6
# Convolutions on a CPU take a third less time in this format.
FORMAT = torch.channels_last


class LeNet300(nn.Sequential):
    """Dense 300-100-10."""

    def __init__(self):
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, 300),
            nn.ReLU(),
            nn.Linear(300, 100),
            nn.ReLU(),
            nn.Linear(100, 10),
        )


class LeNet5(nn.Sequential):
    """Caffe's LeNet-5: convolutions 20 and 50, dense 500-10."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.ReLU(),
            nn.Linear(500, 10),
        )


MODELS = {"lenet_300_100": LeNet300, "lenet_5": LeNet5}


class Masks:
    """The masks of a network's weights, and their updates."""

    def __init__(self, model, optimizer, density, steps):
        self.weights = {k: v for k, v in model.named_parameters() if "bias" not in k}
        self.masks = {k: (torch.rand(v.shape) < density).float() for k, v in self.weights.items()}
        self.budget = sum(density * v.numel() for v in self.weights.values())
        self.optimizer, self.steps = optimizer, steps
        self.adjustment, self.missing = 0.0, []
        self.apply()

    def apply(self):
        """Set weights outside the masks to zero."""
        for name, weight in self.weights.items():
            weight.data.mul_(self.masks[name])

    def update(self, step):
        """Prune the smallest weights of each layer, and grow by momentum."""
        decay = (1 + math.cos(math.pi * step / self.steps)) / 2
        rate = LAST_PRUNE_RATE + (PRUNE_RATE - LAST_PRUNE_RATE) * decay
        momentum = {k: self.optimizer.state[v]["momentum_buffer"] for k, v in self.weights.items()}
        shares = {k: momentum[k].abs()[self.masks[k].bool()].mean().item() for k in self.weights}
        ones = {k: mask.sum().item() for k, mask in self.masks.items()}
        # The authors compare a share with the shares of previous layers, before they add up to 1.
        removed = sum(
            math.ceil(self._rate(k, rate, shares[k], seen) * ones[k])
            for seen, k in enumerate(shares, 1)
        )
        total = sum(share for share in shares.values() if not math.isnan(share))
        shares = {k: share / total for k, share in shares.items()}
        pruned = {
            k: math.ceil(self._rate(k, rate, shares[k], len(shares)) * ones[k]) for k in shares
        }
        grown = self._growth(shares, ones, pruned, removed + self.adjustment)
        for name, weight in self.weights.items():
            self._prune(name, weight, ones[name], pruned[name])
            self._grow(name, momentum[name], grown[name])
        self.apply()
        missing = self.budget - sum(mask.sum().item() for mask in self.masks.values())
        self.missing.append(missing)
        self.adjustment = 0.25 * self.adjustment + 0.75 * missing + float(np.mean(self.missing))
        for name, values in momentum.items():
            mask = self.masks[name]
            values[mask == 0] = values[mask.bool()].mean()

    def _rate(self, name, rate, share, layers):
        free = 1 - self.masks[name].mean().item()
        is_nearly_full = free < 0.2 and 1 / layers / share < 1.0
        return min(free, rate) if is_nearly_full else rate

    def _growth(self, shares, ones, pruned, count):
        """Number of weights that each layer grows; the rest of a full layer goes to all layers."""
        grown, each = {}, 0.0
        for _ in range(1000):
            left = 0.0
            for name, share in shares.items():
                most = 0.99 * (self.masks[name].numel() - ones[name] + pruned[name])
                wanted = grown.get(name, math.ceil(share * count)) + each
                grown[name] = min(wanted, most)
                left += wanted - grown[name]
            each = left / len(grown)
            if left <= 0:
                break
        return grown

    def _prune(self, name, weight, ones, pruned):
        if not pruned:
            self.masks[name] = (weight.data != 0).float()
            return
        magnitudes = weight.data.abs()
        gone = math.ceil(magnitudes.numel() - ones + pruned)
        threshold = magnitudes.flatten().sort().values[gone - 1]
        self.masks[name] = (magnitudes > threshold).float()

    def _grow(self, name, momentum, count):
        mask = self.masks[name]
        outside = (momentum * (mask == 0)).abs().flatten()
        grown = outside.argsort(descending=True)[: math.floor(count)]
        self.masks[name] = mask.flatten().index_fill(0, grown, 1.0).view(mask.shape)


def load(path):
    """MNIST, normalised: training images and labels, test images and labels."""
    with np.load(path) as data:
        images = [
            ((torch.tensor(data[name]).float() / 255 - 0.1307) / 0.3081)
            .unsqueeze(1)
            .contiguous(memory_format=FORMAT)
            for name in ("x_train", "x_test")
        ]
        labels = [torch.tensor(data[name]).long() for name in ("y_train", "y_test")]
    count = math.floor((1 - HELD_OUT) * len(labels[0]))
    return images[0][:count], labels[0][:count], images[1], labels[1]


def sgd(model, zero_biases):
    """The recipe's optimizer; biases decay as in PyTorch, or start at zero without decay."""
    biases = [v for k, v in model.named_parameters() if "bias" in k]
    weights = [v for k, v in model.named_parameters() if "bias" not in k]
    if zero_biases:
        for bias in biases:
            nn.init.zeros_(bias)
    groups = [{"params": weights}, {"params": biases, "weight_decay": 0 if zero_biases else L2}]
    return torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=0.9, weight_decay=L2, nesterov=True)


def train_epoch(model, optimizer, masks, x, y, step):
    """One epoch; returns the mean loss and the largest one of the first 20 steps."""
    losses = []
    for batch in torch.randperm(len(x)).split(BATCH):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.1 ** ((step + len(losses)) // DROP_EVERY)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        if masks is not None:
            masks.apply()
        losses.append(loss.item())
    return np.mean(losses), max(losses[:20])


@torch.no_grad()
def test_error(model, x, y):
    """Test error in percent."""
    right = sum(
        (model(a).argmax(1) == b).sum().item()
        for a, b in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * (1 - right / len(y))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", required=True, help="mnist.npz")
    parser.add_argument("--model", choices=MODELS, default="lenet_300_100")
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--stop", type=int, help="stop after so many of the epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zero_biases", action="store_true")
    values = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(values.seed)
    x, y, x_test, y_test = load(values.mnist)
    model = MODELS[values.model]().to(memory_format=FORMAT)
    optimizer = sgd(model, values.zero_biases)
    steps = len(x) // BATCH
    masks = None
    if values.density < 1:
        masks = Masks(model, optimizer, values.density, steps * values.epochs)
    for epoch in range(1, (values.stop or values.epochs) + 1):
        loss, largest = train_epoch(model, optimizer, masks, x, y, steps * (epoch - 1))
        error = test_error(model, x_test, y_test)
        print(
            f"epoch {epoch}: loss {loss:.4f}, largest {largest:.2f}, error {error:.2f}%", flush=True
        )
        if epoch >= DEAD_EPOCH and error > DEAD_ERROR:
            print("dead")
            break
        if masks is not None and epoch < values.epochs:
            masks.update(steps * epoch)


if __name__ == "__main__":
    main()
