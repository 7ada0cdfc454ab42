"""ComfyUI: workflows filled from a request, run on a server of the owner."""

from backends.comfyui.backend import ComfyUI as ComfyUI
