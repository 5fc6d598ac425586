"""The HTTP processes: ASGI applications on Starlette, bodies by msgspec, served by uvicorn."""
