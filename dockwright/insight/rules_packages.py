"""CUDA packages in an image that has no GPU: gigabytes that nothing can use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockwright.insight.dockerfile import Instruction
from dockwright.insight.findings import Finding, found
from dockwright.insight.requirements import Entry, Files, applies, environment_of
from dockwright.insight.subject import Subject, commands

_GPU_BASE = re.compile(r"cuda|nvidia|nvcr\.io|rocm|l4t|pytorch/|gpu", re.IGNORECASE)
_CPU_WHEELS = re.compile(r"/whl/(?:nightly/)?cpu\b|\+cpu\b|torch-backend[= ]cpu|UV_TORCH_BACKEND[= ]cpu")
_BRINGS_TORCH = frozenset(
    (
        *("torch", "torchvision", "torchaudio", "sentence-transformers", "openai-whisper", "ultralytics", "easyocr"),
        *("fastai", "accelerate", "pytorch-lightning", "lightning", "timm", "bitsandbytes", "xformers", "vllm"),
        *("flash-attn",),
    )
)
_FOR_GPU = re.compile(
    r"nvidia-[a-z0-9-]+-cu\d+|nvidia-(?:cuda|cudnn|cublas)[a-z0-9-]*|onnxruntime-gpu|tensorflow-gpu|faiss-gpu[a-z0-9-]*"
    r"|cupy-cuda\w+|paddlepaddle-gpu|mxnet-cu\d+|cu(?:df|ml)-cu\d+|triton"
)
_GPU_EXTRAS = {"tensorflow": "and-cuda", "jax": "cuda", "spacy": "cuda", "jaxlib": "cuda"}
_APT_GPU = re.compile(r"(?:nvidia-cuda-|cuda-|libcudnn|libcublas|libnccl)\S*")
_CPU_REMEDY = "Install torch first from PyTorch's CPU wheels: pip install torch --index-url …/whl/cpu"


def gpu_packages(subject: Subject) -> Iterator[Finding]:
    for target in subject.chain(subject.final):
        image = subject.image_of(target).name
        if subject.is_for_gpu or _GPU_BASE.search(image):
            return
    settings = " ".join(one.text for one in subject.instructions(subject.final) if one.keyword in ("ENV", "ARG"))
    has_cpu_torch = bool(_CPU_WHEELS.search(settings))
    for target in subject.needed:
        for instruction in target.instructions:
            if instruction.keyword != "RUN":
                continue
            if _CPU_WHEELS.search(instruction.full_text) and "torch" in instruction.full_text:
                has_cpu_torch = True
            yield from _in_step(subject, instruction, has_cpu_torch)


def _in_step(subject: Subject, instruction: Instruction, has_cpu_torch: bool) -> Iterator[Finding]:
    for words in commands(instruction):
        if words[0] in ("apt-get", "apt") and "install" in words:
            for word in words:
                if _APT_GPU.fullmatch(word):
                    yield _finding(subject.place, instruction.line, word, "Leave it out, or build on a CUDA image")
        else:
            files = asked_for(subject, instruction, words)
            has_cpu = has_cpu_torch or any(_CPU_WHEELS.search(line) for line in files.options)
            yield from _in_files(files, has_cpu or any(_CPU_WHEELS.search(entry.text) for entry in files.entries))


def asked_for(subject: Subject, instruction: Instruction, words: list[str]) -> Files:
    """What a `pip install` asks for, on its command line and in the files that it names; empty for all else."""
    files = Files(lambda path: subject.read(path) or None)
    arguments = pip_arguments(words)
    for path in requirement_files(subject, arguments):
        files.add(path)
    place = f"{subject.place}:{instruction.line}"
    files.findings.clear()
    is_value = False
    for word in arguments:
        if not is_value and re.match(r"[A-Za-z][\w.-]*(?:\[[\w,.-]*\])?(?:$|[<>=!~;@ ])", word) and "/" not in word:
            files._requirement(place, word, False)
        is_value = word in ("-r", "-c", "-i", "--index-url", "--extra-index-url", "--requirement", "--constraint", "-t")
    files.findings.clear()
    return files


def pip_arguments(words: list[str]) -> list[str]:
    """Of a `pip install`; empty for another command."""
    head = " ".join(words)
    if not re.match(r"(?:\S*/)?(?:uv pip|pip3?(?:\.\d+)?|python3?(?:\.\d+)? -m pip)\s.*?\binstall\b", head):
        return []
    return words[words.index("install") + 1 :] if "install" in words else []


def requirement_files(subject: Subject, arguments: list[str]) -> list[str]:
    """Paths in the context of the files that `-r` names, found by the name under which they were copied."""
    following = [*arguments[1:], ""][: len(arguments)]
    named = [value for word, after in zip(arguments, following, strict=True) if (value := _file_of(word, after))]
    paths = {path for use in subject.uses for path in use.paths}
    return [path for name in named if (path := _in_context(name, paths))]


def _file_of(word: str, following: str) -> str | None:
    if word in ("-r", "--requirement"):
        return following
    match = re.match(r"(?:-r|--requirement=)(.+)", word)
    return match[1] if match else None


def _in_context(name: str, paths: set[str]) -> str | None:
    """The longest end of `name` that is a path of the context, else the only file with its last part."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        if (path := "/".join(parts[start:])) in paths:
            return path
    alike = [path for path in paths if path.rpartition("/")[2] == (parts[-1] if parts else "")]
    return alike[0] if len(alike) == 1 else None


def _in_files(files: Files, has_cpu_torch: bool) -> Iterator[Finding]:
    environment = environment_of(None)
    for entry in files.entries:
        if entry.is_constraint or not applies(entry.requirement, environment):
            continue
        path, _, line = entry.place.rpartition(":")
        name = entry.requirement.name.lower().replace("_", "-")
        extra = _GPU_EXTRAS.get(name)
        if _FOR_GPU.fullmatch(name):
            yield _finding(path, int(line), entry.text, "Leave it out, take its CPU edition, or build on a CUDA image")
        elif extra and any(one.startswith(extra) for one in entry.requirement.extras):
            yield _finding(path, int(line), entry.text, f"Leave out [{extra}…], or build on a CUDA image")
        elif name in _BRINGS_TORCH and not has_cpu_torch and not _is_cpu(entry):
            yield _finding(path, int(line), entry.text, _CPU_REMEDY)


def _is_cpu(entry: Entry) -> bool:
    return bool(_CPU_WHEELS.search(entry.text)) or bool(entry.requirement.url and "cpu" in entry.requirement.url)


def _finding(path: str, line: int, what: str, remedy: str) -> Finding:
    message = f"{what} brings CUDA libraries of several gigabytes into an image without a GPU"
    return found("gpu_packages", f"{path}:{line}", message, remedy)


RULES = (gpu_packages,)
