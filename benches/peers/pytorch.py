"""The comparison's rows in PyTorch: pytorch.py [--cuda] ROW SAMPLES SECONDS.

Prints one line of JSON, as the other arms do (common/src/answer.rs).
"""

import json
import math
import os
import sys
import time

import numpy
import torch
from torch import nn

# As in common/src/row.rs: widths, rows in a batch, steps in a sample.
MODELS = {
    "small": ([64, 128, 64, 10], 64, 20),
    "medium": ([784, 512, 256, 10], 128, 5),
}
CHECKED = [0, 1, 10]
# Products are in f32, as in the other arms: TF32 has a tenth of its digits.
torch.backends.cuda.matmul.allow_tf32 = False


def numbers(seed, count, limit):
    """As in common/src/numbers.rs, all at once: arithmetic modulo 2^32 has closed forms."""
    powers = numpy.cumprod(numpy.full(count, 1664525, numpy.uint32), dtype=numpy.uint32)
    sums = numpy.cumsum(powers, dtype=numpy.uint32) - powers + numpy.uint32(1)
    states = powers * numpy.uint32(seed) + sums * numpy.uint32(1013904223)
    unit = (states >> 8).astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)
    return unit * numpy.float32(limit)


def set_layer(layer, weight, bias):
    """Sets a layer's weights from [inputs, units], which PyTorch keeps the other way round."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(bias))


def wait(device):
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Linear:
    """A dense layer with ReLU."""

    def __init__(self, size, device):
        self.device = device
        self.x = torch.from_numpy(numbers(1, size * size, 1).reshape(size, size)).to(device)
        self.layer = nn.Linear(size, size)
        weight = numbers(2, size * size, 1 / math.sqrt(size)).reshape(size, size)
        set_layer(self.layer, weight, numbers(3, size, 0.1))
        self.layer.to(device)

    @torch.inference_mode()
    def run(self):
        self.y = torch.relu(self.layer(self.x))
        wait(self.device)


class Training:
    """An MLP trained by Adam."""

    def __init__(self, model, device):
        self.device = device
        widths, rows, self.steps = MODELS[model]
        layers = []
        for index, (inputs, units) in enumerate(zip(widths, widths[1:])):
            layer = nn.Linear(inputs, units)
            weight = numbers(10 + index, inputs * units, math.sqrt(6 / (inputs + units)))
            set_layer(layer, weight.reshape(inputs, units), numpy.zeros(units, numpy.float32))
            layers += [layer, nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1]).to(device)
        self.optimizer = torch.optim.Adam(self.mlp.parameters(), lr=1e-3)
        self.features = numbers(1, rows * widths[0], 1).reshape(rows, widths[0])
        self.labels = numpy.arange(rows, dtype=numpy.int64) * 7 % widths[-1]

    def step(self):
        self.optimizer.zero_grad()
        # `tensor` copies: the batch comes anew each step, as in the other arms.
        logits = self.mlp(torch.tensor(self.features, device=self.device))
        labels = torch.tensor(self.labels, device=self.device)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        return loss


def samples(count, limit, block):
    """As in common/src/arm.rs."""
    block()
    begun = time.perf_counter()
    seconds = []
    while not seconds or (len(seconds) < count and time.perf_counter() - begun < limit):
        start = time.perf_counter()
        block()
        seconds.append(time.perf_counter() - start)
    return seconds


def linear(size, device, count, limit):
    layer = Linear(size, device)
    layer.run()
    result = layer.y.flatten().cpu()
    last = len(result) - 1
    check = [result.double().mean().item()]
    check += [result[index].item() for index in (0, last // 3, last // 3 * 2, last)]
    return check, samples(count, limit, layer.run)


def train(model, read, device, count, limit):
    training = Training(model, device)
    losses = [training.step().item() for _ in range(CHECKED[-1] + 1)]

    def block():
        for _ in range(training.steps):
            loss = training.step()
            if read:
                loss.item()
        wait(device)

    seconds = [second / training.steps for second in samples(count, limit, block)]
    return [losses[step] for step in CHECKED], seconds


def peak_bytes():
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def adapter(device):
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, without TF32"
    return f"CPU, {torch.get_num_threads()} threads"


def main():
    arguments = sys.argv[1:]
    cuda = arguments[0] == "--cuda"
    row, count, limit = arguments[-3], int(arguments[-2]), float(arguments[-1])
    device = torch.device("cuda" if cuda else "cpu")
    torch.set_num_threads(int(os.environ.get("PEERS_THREADS", os.cpu_count() or 1)))
    kind, detail = row.split("-")
    if kind == "linear":
        check, seconds = linear(int(detail), device, count, limit)
    elif row == "first-step":
        check, seconds = [Training("small", device).step().item()], []
    else:
        check, seconds = train(kind, detail == "read", device, count, limit)
    answer = {
        "arm": "pytorch-cuda" if cuda else "pytorch",
        "row": row,
        "adapter": f"PyTorch {torch.__version__}, {adapter(device)}",
        "seconds": seconds,
        "check": check,
        "peak_bytes": peak_bytes(),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
