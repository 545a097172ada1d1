"""A FastAPI application without zdd-sdk, with what usually stands in front of endpoints."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

app = FastAPI()
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["*"])


@app.get("/")
async def root() -> str:
    return "ok"


@app.get("/boom")
async def boom() -> str:
    message = "boom"
    raise RuntimeError(message)
