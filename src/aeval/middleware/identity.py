"""Identity: what is called, in the form by which a cache tells one call from another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from enum import Enum
from functools import partial
from os import PathLike, fspath
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import attrs

from aeval.errors import ConfigurationError
from aeval.middleware.base import name_of
from aeval.middleware.code import digest, is_installed, names_read, names_written
from aeval.middleware.forms import Formless, canonical, form_of, path_of

__all__ = ["Identity", "form_of_argument"]

# Loggers, locks and limits have no part in an answer.
_ASIDE_HOMES = frozenset({"_asyncio", "_contextvars", "_thread", "anyio", "asyncio", "logging", "threading"})
_ASIDE = re.compile("Lock|lock|Semaphore|Limiter|Condition|Event|Logger|ContextVar")
_ARRAYS = frozenset({"numpy", "torch"})
_LAYERS = "aeval.middleware."
# By what clients and models are told apart, over and above their settings.
_SPEAKING = ("model", "model_name", "base_url")
_PLAIN = (str, bool, int, float, bytes, list, tuple, set, frozenset)
_EMPTY: Any = object()


class Identity:
    """What is called: its name, its code, and the settings of the model behind it.

    Of a function that was installed the name counts; of any other its code too, its defaults, the variables that it is
    closed over, and the globals that it reads, among them the functions and classes that it uses by name. They are
    looked through at the first call, and again when one of them was given another value, or settings changed.

    :param call: any callable
    :param lenient: let objects that cannot be told from others of their class count as the class, wherever they are
    """

    def __init__(self, call: Callable[..., Any], *, lenient: bool = False) -> None:
        self._call = call
        self._lenient = lenient
        self._form: Any = None
        self._look: _Look | None = None

    def form(self) -> Any:
        """Return the form of what is called.

        :raises ConfigurationError: if it depends on an object that cannot be told from others of its class
        """
        if self._look is None or self._look.is_stale():
            look = _Look(lenient=self._lenient)
            try:
                self._form = look.call(self._call)
            except Formless as error:
                raise ConfigurationError(
                    f"Cache cannot tell what the answers of {name_of(self._call)!r} depend on: it uses an object of the "
                    f"class {error.type!r}, in which there may be anything. Give that class a property `settings` with "
                    "what tells one from another, or give Cache(..., key=...), a function of the call's arguments that "
                    "returns all that an answer depends on"
                ) from None
            self._look = look
        return self._form


def form_of_argument(value: Any) -> Any:
    """Return the form of a call's argument, in which a model stands for its settings.

    :raises Formless: if it has none
    """
    return _Look().of(value)


class _Look:
    """One look at what is called, and what was seen."""

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        # Where a value was found, under which name, and which value.
        self._read: list[tuple[Any, str, Any]] = []
        self._models: list[tuple[Any, bytes]] = []
        self._seen: set[CodeType | type] = set()

    def is_stale(self) -> bool:
        """Tell whether a variable was given another value, or a model other settings."""
        return any(_value(place, name) is not value for place, name, value in self._read) or any(
            canonical(_model_form(model, self._hook)) != form for model, form in self._models
        )

    def call(self, call: Any) -> Any:
        """Return the form of a callable."""
        if isinstance(call, partial):
            return ["partial", self.call(call.func), self.of(call.args), self.of(call.keywords)]
        if isinstance(call, MethodType):
            return ["method", self._function(call.__func__), *self._owner(call.__self__)]
        if isinstance(call, FunctionType):
            return self._function(call)
        if isinstance(call, BuiltinFunctionType):
            owner = call.__self__
            of = None if owner is None or isinstance(owner, ModuleType) else self.of(owner)
            return ["builtin", call.__module__, call.__qualname__, of]
        if isinstance(call, type):
            return self.of(call)
        if hasattr(call, "__wrapped__"):  # functools.cache's, for example
            return [path_of(type(call)), self.call(call.__wrapped__)]
        return ["object", *self._owner(call)]

    def of(self, value: Any) -> Any:
        """Return the form of a value."""
        return form_of(value, self._hook)

    def _owner(self, value: Any) -> list[Any]:
        """Return the forms of the object that a method belongs to, and of its class, whose other methods it may call."""
        if isinstance(value, type):
            return [self.of(value)]
        try:
            return [self.of(type(value)), self.of(value)]
        except Formless:
            if not self._lenient:
                raise
            return [self.of(type(value)), _rough(value)]

    def _function(self, function: Any) -> Any:
        name = [function.__module__, function.__qualname__]
        if not isinstance(function, FunctionType):
            return name
        home = str(function.__globals__.get("__name__"))
        inner = getattr(function, "__wrapped__", None)
        if inner is not None and home.startswith(_LAYERS):
            # Layers do not change an answer. A cache around a cache must not wait for itself, though.
            form = self.call(inner)
            return ["cached", form] if home.endswith(".cache") else form
        code = function.__code__
        if is_installed(home, code.co_filename):
            return [*name, code.co_qualname, self._cells(function) if inner is None else self.call(inner)]
        if code in self._seen:
            return name
        self._seen.add(code)
        defaults = [self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        return [*name, digest(code), defaults, self._cells(function), self._globals(function)]

    def _cells(self, function: FunctionType) -> list[Any]:
        forms = []
        written = names_written(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name not in written:
                value = self._note(cell, name)
                forms.append([name, self._variable(value, lenient=self._lenient)])
        return forms

    def _globals(self, function: FunctionType) -> list[Any]:
        forms = []
        names, written, places = (
            names_read(function.__code__),
            names_written(function.__code__),
            function.__globals__,
        )
        for name in sorted(names & places.keys() - written):
            value = self._note(places, name)
            if isinstance(value, ModuleType) and not is_installed(value.__name__):
                parts = sorted(names & vars(value).keys())
                forms += [[f"{name}.{part}", self._global(self._note(vars(value), part))] for part in parts]
            else:
                forms.append([name, self._global(value)])
        return forms

    def _note(self, place: Any, name: str) -> Any:
        value = _value(place, name)
        self._read.append((place, name, value))
        return value

    def _global(self, value: Any) -> Any:
        # Consoles, tokenizers, templates: most that were installed and cannot be told have no part in an answer.
        return self._variable(value, lenient=self._lenient or is_installed(type(value).__module__))

    def _variable(self, value: Any, *, lenient: bool) -> Any:
        try:
            return self.of(value)
        except Formless:
            if not lenient:
                raise
            return _rough(value)

    def _class(self, kind: type) -> Any:
        form: list[Any] = [path_of(kind)]
        if kind in self._seen:
            return form
        self._seen.add(kind)
        if not is_installed(kind.__module__):
            form.append([_schema(kind), str(vars(kind).get("__annotations__"))])
            for member in vars(kind).values():
                method = getattr(member, "__func__", None) or getattr(member, "fget", member)
                if isinstance(method, FunctionType):
                    form.append(self._function(method))
            form += map(self._class, kind.__bases__)
        return form

    def _hook(self, value: Any) -> Any:
        if isinstance(value, (FunctionType, MethodType, BuiltinFunctionType, partial)):
            return {"@": "call", "of": self.call(value)}
        if isinstance(value, type):
            return {"@": "class", "of": self._class(value)}
        if callable(value) and "__wrapped__" in getattr(value, "__dict__", ()):
            return {"@": "call", "of": self.call(value)}
        form = self._model(value)
        return _other_form(value, self._hook) if form is NotImplemented else form

    def _model(self, value: Any) -> Any:
        form = _model_form(value, self._hook)
        if form is not NotImplemented:
            self._models.append((value, canonical(form)))
        return form


def _model_form(value: Any, hook: Callable[[Any], Any]) -> Any:
    """Return the form of a model, known by its `settings`, or of an installed client, known by its address."""
    kind = type(value)
    if isinstance(value, (type, ModuleType)):
        return NotImplemented
    settings = _part(value, "settings")
    if settings is None or callable(settings):
        # The SDKs' resources, as in `client.chat.completions`, keep the client under this name.
        client = value if _part(value, "_client") is None else _part(value, "_client")
        address = _part(client, "base_url") or _part(value, "base_url")
        spoken_for = any(hasattr(kind, mark) for mark in ("__pydantic_fields__", "__dataclass_fields__"))
        if address is None or spoken_for or attrs.has(kind) or not is_installed(kind.__module__):
            return NotImplemented
        query = _part(client, "_custom_query")
        settings = [str(address), query if isinstance(query, Mapping) else None]
    spoken = [str(_part(value, name)) for name in _SPEAKING]
    return {"@": "model", "type": path_of(kind), "of": [form_of(settings, hook), spoken]}


def _other_form(value: Any, hook: Callable[[Any], Any]) -> Any:  # noqa: C901 - a line for each kind
    kind = type(value)
    root = kind.__module__.partition(".")[0]
    of: Any
    if value is _EMPTY:
        return {"@": "empty", "of": None}
    if isinstance(value, ModuleType):
        of = value.__name__
    elif (root in _ASIDE_HOMES and _ASIDE.search(kind.__name__)) or kind.__module__.startswith(_LAYERS):
        of = None
    elif isinstance(value, Enum) or hasattr(kind, "_fields"):
        return NotImplemented
    elif hasattr(kind, "get_secret_value"):
        of = None  # a key
    elif isinstance(value, re.Pattern):
        of = [form_of(value.pattern), value.flags]
    elif root in _ARRAYS and hasattr(value, "tolist"):
        of = [
            str(getattr(value, "dtype", None)),
            str(getattr(value, "shape", None)),
            form_of(value.tolist(), hook),
        ]
    elif isinstance(value, PathLike):
        of = form_of(fspath(value))
    elif isinstance(value, (date, time, timedelta, range, complex, type(...))):
        of = repr(value)
    elif isinstance(value, Mapping):
        of = form_of(dict(value), hook)
    elif isinstance(value, _PLAIN):
        base: Any = next(base for base in _PLAIN if isinstance(value, base))
        of = form_of(base(value), hook)
    else:
        return NotImplemented
    return {"@": "other", "type": path_of(kind), "of": of}


def _schema(kind: Any) -> Any:
    """Return the schema of a pydantic model, where it has one."""
    try:
        return form_of(kind.model_json_schema())
    except Exception:  # noqa: BLE001 - it is none, or not all of it can be written as JSON
        return None


def _rough(value: Any) -> Any:
    """Return what little can be told of an object that has no form."""
    spoken = [_part(value, name) for name in _SPEAKING]
    return [path_of(type(value)), [part if isinstance(part, str) else None for part in spoken]]


def _value(place: Any, name: str) -> Any:
    if isinstance(place, CellType):
        try:
            return place.cell_contents
        except ValueError:
            return _EMPTY
    return place.get(name, _EMPTY)


def _part(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - whatever a property of somebody's raises
        return None
