"""Tensors of a checkpoint made elsewhere, looked up by name one at a time; nothing is unpickled."""

import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.files import read_json, refuse_stub

SAFE, TORCH = (".safetensors",), (".pth", ".pt", ".bin")
INDEX = ".index.json"
# What the libraries name the weights of a model, the first that is there first; an index names the parts of one.
NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# What trainers save beside them.
BESIDE = ("optimizer", "scheduler", "scaler", "training_args", "rng_state")
# What torch.compile and DataParallel put before the names of tensors.
WRAPPERS = ("_orig_mod.", "module.")

Read = tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]  # the shape of each tensor, and how to get one


class Layout(NamedTuple):
    """How a tensor is read in another format's place: its name and shape there, and how it gets that shape."""

    name: str
    shape: tuple[int, ...]
    turn: Callable[[Tensor], Tensor]


class Tensors:
    """The tensors of a checkpoint by their names, read as they are asked for; `said` is what errors call it."""

    def __init__(self, read: Read, said: Path | str) -> None:
        self.said = said
        self._names = _unwrapped(read[0], said)
        self._shapes = {name: read[0][stored] for name, stored in self._names.items()}
        self._get = read[1]
        self._left = set(self._shapes)

    @classmethod
    def of_file(cls, path: Path) -> "Tensors":
        """Those of a file, or of the parts that an index names.

        Raises:
            InputError: a file is missing, a stub, no safetensors file and no state dict of PyTorch, or one that would
                have to be unpickled; or a part lacks a tensor that the index says it has.
        """
        return cls(_of_parts(path) if path.name.endswith(INDEX) else _of_one(path), path)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], said: str) -> "Tensors":
        """Those of a state dict in memory."""
        return cls(({name: tuple(t.shape) for name, t in state.items()}, lambda name: state[name].detach()), said)

    def laid_out(self, layout: Callable[[str, tuple[int, ...]], Layout]) -> "Tensors":
        """The same tensors in the layout of another format."""
        read = {name: layout(name, shape) for name, shape in self._shapes.items()}
        stored = {each.name: name for name, each in read.items()}
        shapes = {each.name: each.shape for each in read.values()}
        return Tensors((shapes, lambda name: read[stored[name]].turn(self._get(self._names[stored[name]]))), self.said)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def first(self, *parts: str) -> str | None:
        """A tensor whose name has one of these parts between dots, the first in alphabetical order."""
        return next((name for name in sorted(self._shapes) if not set(parts).isdisjoint(name.split("."))), None)

    def between(self, start: str, end: str) -> str:
        """The name of the one tensor that begins and ends like this; where there is none or several, start + end."""
        found = [name for name in self._shapes if name.startswith(start) and name.endswith(f".{end}")]
        return found[0] if len(found) == 1 else start + end

    def __len__(self) -> int:
        return len(self._shapes)

    def take(self, name: str, *shape: int) -> Tensor:
        """A copy of one tensor in float32.

        Raises:
            InputError: it is missing, has another shape, or holds something other than finite numbers.
        """
        if name not in self._shapes:
            raise InputError(f"{self.said}: tensor {name} is missing; config.json says it is there")
        if self._shapes[name] != shape:
            raise InputError(f"{self.said}: tensor {name} has shape {self._shapes[name]}, config.json says {shape}")
        self._left.discard(name)
        tensor = self._get(self._names[name])
        if not tensor.is_floating_point():
            raise InputError(f"{self.said}: tensor {name} holds {tensor.dtype}, not floating-point numbers")
        found = torch.empty(shape).copy_(tensor)
        if not found.isfinite().all():
            raise InputError(f"{self.said}: tensor {name} holds NaN or infinity")
        return found

    def optional(self, name: str, *shape: int) -> Tensor:
        """The same, or zeros where the checkpoint has no such tensor."""
        return self.take(name, *shape) if name in self else torch.zeros(shape)

    def done(self, *buffers: str) -> None:
        """Check that all tensors have been taken but those whose name ends in one of `buffers`.

        Raises:
            InputError: one is left that the model of config.json has no place for.
        """
        left = sorted(name for name in self._left if not name.endswith(tuple(f".{b}" for b in buffers)))
        if left:
            raise InputError(f"{self.said}: tensor {left[0]} has no place in the model of config.json")


def _unwrapped(shapes: Mapping[str, object], said: Path | str) -> dict[str, str]:
    """The stored name of each tensor by the name that it has in the model itself, without those of wrappers.

    Raises:
        InputError: two tensors have one name then.
    """
    names = {name: name for name in shapes}
    while names:
        wrapper = next((w for w in WRAPPERS if all(name.startswith(w) for name in names)), None)
        if wrapper is None:
            break
        names = {name.removeprefix(wrapper): stored for name, stored in names.items()}
    found: dict[str, str] = {}
    for name, stored in names.items():
        inner = name.replace("._orig_mod.", ".")  # layers may be compiled one by one
        if inner in found:
            raise InputError(f"{said}: tensors {found[inner]} and {stored} have one name without those of wrappers")
        found[inner] = stored
    return found


def find(path: Path) -> Path:
    """The one checkpoint file of a folder, or the index of its parts; a file is itself.

    Raises:
        InputError: there is none, or more than one under names that libraries do not give.
    """
    if path.is_file():
        return path
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    for kind in (SAFE, TORCH):
        files = sorted(file for file in path.glob("*") if file.suffix in kind and file.is_file())
        found = [file for file in files if not file.name.startswith(BESIDE)]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise InputError(
                f"{path}: expected one checkpoint file, found {names}; name the one that is meant, as in {found[-1]}"
            )
        if found:
            return found[0]
    inside = sorted({file.parent for file in path.glob("*/*") if is_checkpoint(file)})
    if inside:
        names = ", ".join(inner.name for inner in inside)
        raise InputError(f"{path}: the checkpoints are in {names}; name the one that is meant, as in {inside[-1]}")
    raise InputError(f"{path}: no checkpoint file ({', '.join('*' + s for s in SAFE + TORCH)}) is there")


def is_checkpoint(file: Path) -> bool:
    """Whether a file has the name of a checkpoint, of a part of one, or of an index of parts."""
    return file.is_file() and (file.suffix in SAFE + TORCH or file.name.endswith(INDEX))


def parts(index: Path) -> dict[str, Path]:
    """The file of each tensor, by what the index of a checkpoint in several files says.

    Raises:
        InputError: it is no such index, or names a file elsewhere.
    """
    content = read_json(index)
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not all(isinstance(file, str) for file in named.values()):
        raise InputError(f"{index}: weight_map: expected a mapping from tensors to files")
    for file in set(named.values()):
        if Path(file).name != file or Path(file).suffix not in SAFE + TORCH:
            raise InputError(f"{index}: weight_map: {file!r} is no checkpoint file beside it")
    return {tensor: index.parent / file for tensor, file in named.items()}


def _of_parts(index: Path) -> Read:
    named = parts(index)
    opened = {file: _of_one(file) for file in sorted(set(named.values()))}
    shapes = {}
    for tensor, file in named.items():
        if tensor not in opened[file][0]:
            raise InputError(f"{file}: tensor {tensor} is missing; {index.name} says it is there")
        shapes[tensor] = opened[file][0][tensor]
    more = sorted(tensor for file, (there, _) in opened.items() for tensor in there if named.get(tensor) != file)
    if more:
        raise InputError(f"{index}: weight_map: tensor {more[0]} is in a file, but not named")
    return shapes, lambda tensor: opened[named[tensor]][1](tensor)


def _of_one(path: Path) -> Read:
    if not path.is_file():
        raise InputError(f"{path}: does not exist; an index names it as a part of the checkpoint")
    refuse_stub(path)
    return _open_safe(path) if path.suffix in SAFE else _open_torch(path)


def _open_safe(path: Path) -> Read:
    try:
        file = safe_open(path, framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    return shapes, file.get_tensor


def _open_torch(path: Path) -> Read:
    _refuse_damaged(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the loader warns of what it then refuses
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format before 1.6 cannot be mapped
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none fails anywhere in the loader
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a state dict that can be read without unpickling ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()):
        raise InputError(f"{path}: expected a state dict, a mapping from names to tensors; save model.state_dict()")
    return {name: tuple(tensor.shape) for name, tensor in state.items()}, state.__getitem__


def _refuse_damaged(path: Path) -> None:
    """Compare the members of a zip archive, which state dicts are since PyTorch 1.6, with their CRC-32: torch does not.

    Raises:
        InputError: one differs, or is compressed: PyTorch writes none such, and would map its bytes as they are.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise InputError(f"{path}: its members are compressed; unpack it and save the state dict by torch.save")
            if sum(m.file_size for m in members) > path.stat().st_size:
                raise ValueError("its members overlap")
            member = archive.testzip()
    except InputError:
        raise
    except Exception as error:  # a damaged directory fails anywhere in the reader
        raise InputError(f"{path}: damaged, not a readable archive ({error}); fetch it again") from None
    if member is not None:
        raise InputError(f"{path}: damaged, the checksum of its member {member} is wrong; fetch it again")
