"""LiteRT for Microcontrollers: memory and operators of a file, and source for firmware."""

from export.micro.firmware import write_c_array
from export.micro.measuring import measure
from export.micro.meter import Micro
from export.micro.result import FileMemory, MicroResult

__all__ = ["FileMemory", "Micro", "MicroResult", "measure", "write_c_array"]
