from .registry import build as build
