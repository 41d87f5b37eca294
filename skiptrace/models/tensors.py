"""Tensors of a checkpoint made elsewhere, looked up by name one at a time; nothing is unpickled."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from skiptrace.errors import InputError
from skiptrace.files import refuse_stub

SAFE, TORCH = (".safetensors",), (".pth", ".pt", ".bin")


class Tensors:
    """A checkpoint file: its names, and its tensors as they are asked for.

    Raises:
        InputError: the file is a stub, no safetensors file and no state dict of PyTorch, or one that would have to be
            unpickled.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        refuse_stub(path)
        self._shapes: dict[str, tuple[int, ...]]
        self._shapes, self._get = _open_safe(path) if path.suffix in SAFE else _open_torch(path)
        self._left = set(self._shapes)

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __len__(self) -> int:
        return len(self._shapes)

    def take(self, name: str, *shape: int) -> Tensor:
        """A copy of one tensor in float32.

        Raises:
            InputError: it is missing, has another shape, or holds something other than finite numbers.
        """
        if name not in self._shapes:
            raise InputError(f"{self.path}: tensor {name} is missing; config.json says it is there")
        if self._shapes[name] != shape:
            raise InputError(f"{self.path}: tensor {name} has shape {self._shapes[name]}, config.json says {shape}")
        self._left.discard(name)
        tensor = self._get(name)
        if not tensor.is_floating_point():
            raise InputError(f"{self.path}: tensor {name} holds {tensor.dtype}, not floating-point numbers")
        found = torch.empty(shape).copy_(tensor)
        if not found.isfinite().all():
            raise InputError(f"{self.path}: tensor {name} holds NaN or infinity")
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
            raise InputError(f"{self.path}: tensor {left[0]} has no place in the model of config.json")


def find(path: Path) -> Path:
    """The one checkpoint file of a folder, safetensors before state dicts; a file is itself.

    Raises:
        InputError: there is none, or it is cut in parts.
    """
    if path.is_file():
        return path
    for kind in (SAFE, TORCH):
        found = sorted(file for file in path.glob("*") if file.suffix in kind and file.is_file())
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise InputError(f"{path}: expected one checkpoint file, found {names}; join or remove them")
        if found:
            return found[0]
    raise InputError(f"{path}: no checkpoint file ({', '.join('*' + s for s in SAFE + TORCH)}) is there")


Opened = tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]


def _open_safe(path: Path) -> Opened:
    try:
        file = safe_open(path, framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from None
    return shapes, file.get_tensor


def _open_torch(path: Path) -> Opened:
    _refuse_damaged(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the loader warns of what it then refuses
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format before 1.6 cannot be mapped
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none fails anywhere in the loader
        told = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a state dict that can be read without unpickling ({told})") from None
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
