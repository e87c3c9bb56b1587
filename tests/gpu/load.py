"""A load for an NVIDIA GPU through nothing but the driver's own library: known memory, then arithmetic without pause.

Runs as a process of its own, step by step: each line on standard input asks for the next step, and its answer is a
line on standard output; the end of standard input, or LONGEST_S, ends it. The card is the first one that CUDA shows
here, so CUDA_VISIBLE_DEVICES picks another.

    start     -> the card's PCI address; no memory of it is taken yet
    context   -> "context": the driver's own share of memory is taken
    allocate  -> the number of bytes that were allocated
    run       -> "running": kernels follow each other, each of about LAUNCH_S
"""

import ctypes
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

LONGEST_S = 600
LAUNCH_S = 0.01
MOST_ROUNDS = 1 << 20
MOST_BYTES, LEAST_FREE_BYTES = 2 << 30, 256 << 20
VECTOR_BYTES = 16
BLOCKS_PER_PROCESSOR, THREADS = 4, 256

# --- the kernel -------------------------------------------------------------------------------------------------

# Numbers of all signs and mantissas between 0.5 and 1: what a multiplier draws depends on how many bits change.
_HALVES = "and.b32 {0}, {0}, 0x83ff83ff;\n    or.b32 {0}, {0}, 0x38003800;"
_FLOATS = "and.b32 {0}, {0}, 0x807fffff;\n    or.b32 {0}, {0}, 0x3f000000;"
_MMA = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{{d}}}, {{%a0, %a1, %a2, %a3}}, {{%a4, %a5}}, {{{d}}};"

_KERNEL = """\
.version {version}
.target {target}
.address_size 64

.visible .entry heat(.param .u64 words, .param .u32 mask, .param .u32 rounds)
{{
    .reg .pred %more;
    .reg .b32 %index, %stride, %mask, %rounds, %inner, %own, %x;
    .reg .b32 %a<6>, %v<4>;
    .reg .b32 %d<16>;
    .reg .b64 %words, %at;

    ld.param.u64 %words, [words];
    cvta.to.global.u64 %words, %words;
    ld.param.u32 %mask, [mask];
    ld.param.u32 %rounds, [rounds];
    mov.u32 %own, %ctaid.x;
    mov.u32 %stride, %ntid.x;
    mov.u32 %x, %tid.x;
    mad.lo.u32 %index, %own, %stride, %x;
    mov.u32 %x, %nctaid.x;
    mul.lo.u32 %stride, %stride, %x;
    {seeds}
ROUND:
    and.b32 %own, %index, %mask;
    mul.wide.u32 %at, %own, 16;
    add.u64 %at, %at, %words;
    ld.global.v4.u32 {{%v0, %v1, %v2, %v3}}, [%at];
    {mixed}
    mov.u32 %inner, 16;
STEP:
    {arithmetic}
    sub.u32 %inner, %inner, 1;
    setp.ne.u32 %more, %inner, 0;
    @%more bra STEP;
    xor.b32 %v0, %v0, %d0;
    xor.b32 %v1, %v1, %d5;
    xor.b32 %v2, %v2, %d10;
    xor.b32 %v3, %v3, %d15;
    st.global.v4.u32 [%at], {{%v0, %v1, %v2, %v3}};
    add.u32 %index, %index, %stride;
    sub.u32 %rounds, %rounds, 1;
    setp.ne.u32 %more, %rounds, 0;
    @%more bra ROUND;
    ret;
}}
"""


def ptx(*, tensor_cores: bool) -> str:
    """The kernel `heat(words, mask, rounds)`: a round reads 16 bytes a thread, computes, and writes 16 bytes.

    `words` are mask + 1 vectors of 16 bytes, a power of two. With tensor cores (Ampere and later) it multiplies
    matrices of halves, else it multiplies and adds floats: what the cards of either kind draw most with.
    """
    seeds = [f"mad.lo.u32 %a{i}, %index, {0x9E3779B1 + 2 * i}, {0x85EBCA6B * (i + 1) % 2**32};" for i in range(6)]
    seeds += [f"mov.u32 %d{i}, 0;" for i in range(16)]
    values = _HALVES if tensor_cores else _FLOATS
    mixed = [f"xor.b32 %a{i}, %a{i}, %{'v' if i < 4 else 'd'}{i};\n    {values.format(f'%a{i}')}" for i in range(6)]
    if tensor_cores:
        sums = [", ".join(f"%d{i + j}" for j in range(4)) for i in range(0, 16, 4)]
        arithmetic = [_MMA.format(d=four) for four in sums]
    else:
        arithmetic = [f"fma.rn.f32 %d{i}, %d{i}, %a{i % 3}, %a{3 + i % 3};" for i in range(16)] * 2
    return _KERNEL.format(
        version="7.0" if tensor_cores else "6.0",
        target="sm_80" if tensor_cores else "sm_50",
        seeds="\n    ".join(seeds),
        mixed="\n    ".join(mixed),
        arithmetic="\n    ".join(arithmetic),
    )


# --- the driver -------------------------------------------------------------------------------------------------

_PROCESSORS, _MAJOR = 16, 75  # of CUdevice_attribute in cuda.h


class CudaError(Exception):
    """The driver could not do what it was asked, in its own words."""


class Cuda:
    """The driver's library and the first card that it shows."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise CudaError(f"the NVIDIA driver's library does not load: {error}") from None
        self("cuInit", 0)
        count, self.device = ctypes.c_int(), ctypes.c_int()
        self("cuDeviceGetCount", ctypes.byref(count))
        if not count.value:
            raise CudaError("CUDA shows no GPU here: look at CUDA_VISIBLE_DEVICES, and at MIG without instances")
        self("cuDeviceGet", ctypes.byref(self.device), 0)

    def __call__(self, function: str, *arguments: object) -> None:
        """Call a function of the library; CudaError where it fails."""
        if not (code := self.library[function](*arguments)):
            return
        text = ctypes.c_char_p()
        self.library.cuGetErrorString(code, ctypes.byref(text))
        raise CudaError(f"{function}: {(text.value or b'').decode(errors='replace') or f'error {code}'}")

    def address(self) -> str:
        """Of the card on the PCI bus; a slice of MIG has its card's."""
        name = ctypes.create_string_buffer(32)
        self("cuDeviceGetPCIBusId", name, len(name), self.device)
        return name.value.decode()

    def attribute(self, number: int) -> int:
        """One of the card's, by its number in cuda.h."""
        value = ctypes.c_int()
        self("cuDeviceGetAttribute", ctypes.byref(value), number, self.device)
        return value.value

    def open(self) -> None:
        """Make the card's context the thread's."""
        context = ctypes.c_void_p()
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self("cuCtxSetCurrent", context)

    def allocate(self) -> tuple[ctypes.c_uint64, int]:
        """Take MOST_BYTES, or on a small or full card as large a power of two as leaves half of what is free."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        if free.value < LEAST_FREE_BYTES:
            raise CudaError(f"only {free.value / 2**20:.0f} MiB of the card are free: end what uses it")
        size = min(MOST_BYTES, 1 << (free.value // 2).bit_length() - 1)
        words = ctypes.c_uint64()
        self("cuMemAlloc_v2", ctypes.byref(words), ctypes.c_size_t(size))
        return words, size

    def kernel(self, words: ctypes.c_uint64, size: int) -> Callable[[int], float]:
        """A function that runs so many rounds of the kernel over `words` to their end and tells the seconds."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        source = ptx(tensor_cores=self.attribute(_MAJOR) >= 8).encode()
        self("cuModuleLoadData", ctypes.byref(module), source)
        self("cuModuleGetFunction", ctypes.byref(function), module, b"heat")
        blocks, mask = BLOCKS_PER_PROCESSOR * self.attribute(_PROCESSORS), ctypes.c_uint32(size // VECTOR_BYTES - 1)

        def launch(rounds: int) -> float:
            values = words, mask, ctypes.c_uint32(rounds)
            pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            began_s = time.monotonic()
            self("cuLaunchKernel", function, blocks, 1, 1, THREADS, 1, 1, 0, None, pointers, None)
            self("cuCtxSynchronize")
            return time.monotonic() - began_s

        return launch


# --- the process ------------------------------------------------------------------------------------------------


def steps(cuda: Cuda) -> Iterator[str]:
    """Yield the answer to each step once that is done, then run until standard input says something, or ends."""
    yield cuda.address()
    cuda.open()
    yield "context"
    words, size = cuda.allocate()
    yield str(size)
    launch, rounds = cuda.kernel(words, size), 1
    while launch(rounds) < LAUNCH_S and rounds < MOST_ROUNDS:
        rounds *= 2
    yield "running"
    while not select.select([sys.stdin], [], [], 0)[0]:
        launch(rounds)


def main() -> int:
    """One line on standard error and 1 where the driver refuses a step."""
    signal.alarm(LONGEST_S)  # by its default the process then ends, though it hang in the driver
    try:
        for answer in steps(Cuda()):
            print(answer, flush=True)
            if answer != "running" and not sys.stdin.readline():
                break
    except CudaError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
