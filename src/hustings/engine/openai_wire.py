"""Reads what an endpoint sends (an answer, an error instead, or neither) and validates all of it before any is used.

It does not send anything, and does not know what a survey is.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from hustings.engine.base import spoken
from hustings.engine.openai_answers import Place, places_of, wrong
from hustings.errors import first_line

_SURROGATE = re.compile("[\ud800-\udfff]")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_MARKUP = re.compile(r"\s*(?:<!doctype|<html|<head|<body|<\?xml)", re.IGNORECASE)
_LENGTH = {"length", "max_tokens", "max_length", "model_length", "token_limit"}
"""Finish reasons that servers give for an answer cut at the token limit."""
_STOP = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "content_filter"}
"""Finish reasons that servers give for an answer that ended by itself or that they ended."""
_MOST = 10**9
"""A larger token count is treated as invalid."""


class Unreadable(ValueError):
    """What an endpoint sent is not an answer.

    Args:
        why: the reason, in a few words.
        usage: the tokens that the endpoint says it used.
    """

    def __init__(self, why: str, usage: "Usage | None" = None) -> None:
        super().__init__(why)
        self.usage = usage or Usage()


class Reported(Exception):
    """An endpoint sent an error with status 200.

    Args:
        body: the error as it appeared in the answer.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(reason_of(body))
        self.body = body
        numbers = (_count(body.get(name)) for name in ("code", "status", "status_code"))
        self.status_code = next((number for number in numbers if number and 400 <= number < 600), None)
        """The HTTP status that the error names, if any."""


@dataclass(frozen=True, slots=True)
class Received:
    """A validated answer."""

    text: str
    """The answer without reasoning; for a refusal, the refusal's text."""
    finish: Literal["stop", "length"] | None
    """None if the endpoint does not say."""
    declined: bool
    """The endpoint itself marks it as a refusal."""
    places: list[Place]
    """Its log-probabilities, from the first token of `text` on; empty if there are none that can be read."""
    flaw: str | None
    """Why its log-probabilities cannot be read."""
    reasoning: int
    """Characters of reasoning, which is not part of the text."""
    prompt_tokens: int | None
    tokens: int | None
    """Generated tokens, including those of reasoning; None if the endpoint does not say."""


def mended(text: str) -> str:
    """A text that can be written as UTF-8: halves of characters (lone surrogates) become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def reason_of(body: Any) -> str:
    """The reason that an endpoint gives for an error, in one short line.

    Args:
        body: the error's body, as text or as plain values.
    """
    while isinstance(body, Mapping):
        known = (body.get(name) for name in ("message", "error", "detail", "msg", "title"))
        body = next((it for it in known if it), json.dumps(body))
    text = mended(str(body))
    if _MARKUP.match(text):
        title = _TITLE.search(text)
        text = f"a web page, {' '.join(title[1].split())!r}" if title else "a web page"
    return " ".join(text.split())[:300]


def _count(value: Any) -> int | None:
    """A count of tokens; None for anything that is not one."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= _MOST else None


_Count = Annotated[int | None, BeforeValidator(_count)]


class Usage(BaseModel):
    """The usage that an endpoint reports, without implausible values."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    total_tokens: _Count = None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Usage":
        """The usage in an answer; empty if it has none."""
        usage = answer.get("usage")
        return cls.model_validate(usage) if isinstance(usage, dict) else cls()

    @property
    def generated(self) -> int | None:
        """Generated tokens; some endpoints count those of reasoning only in the total."""
        if not self.completion_tokens:
            return None
        return max(self.completion_tokens, (self.total_tokens or 0) - (self.prompt_tokens or self.total_tokens or 0))


class _Part(BaseModel):
    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    thinking: Any = None


class _Message(BaseModel):
    content: str | list[_Part | str] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None

    @property
    def parts(self) -> list[_Part]:
        content = self.content if isinstance(self.content, list) else [self.content or ""]
        return [_Part(text=it) if isinstance(it, str) else it for it in content]

    @property
    def said(self) -> str:
        return "".join(part.text or "" for part in self.parts if part.type in ("text", "output_text"))

    @property
    def refused(self) -> str:
        return self.refusal or "".join(part.refusal or "" for part in self.parts)

    @property
    def thought(self) -> int:
        given = self.reasoning_content or self.reasoning or [it.thinking for it in self.parts if it.thinking]
        return len(given) if isinstance(given, str) else len(json.dumps(given)) if given else 0


class _Choice(BaseModel):
    message: _Message | None = None
    text: str | None = None
    finish_reason: Any = None
    logprobs: Any = None
    error: Any = None

    @model_validator(mode="after")
    def _something(self) -> "_Choice":
        if self.message is None and self.text is None and not self.error:
            raise ValueError("neither a message nor a text")
        return self


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


def read(body: str) -> Received:
    """The answer in the body of a response with status 200.

    Raises:
        Reported: the body holds an error instead.
        Unreadable: the body holds neither.
    """
    plain = _object(body)
    error = plain.get("error")
    if error or ((plain.get("object") == "error" or not plain.get("choices")) and reason_given(plain)):
        raise Reported(error if isinstance(error, Mapping) else {**plain, "message": reason_of(error or plain)})
    usage = Usage.of(plain)
    try:
        choice = _Answer.model_validate(plain).choices[0]
    except ValidationError as problem:
        raise Unreadable(wrong(problem), usage) from None
    if choice.error or choice.finish_reason == "error":
        given = choice.error
        raise Reported(given if isinstance(given, Mapping) else {"message": reason_of(given or "finish_reason error")})
    return _received(choice, usage)


def reason_given(plain: Mapping[str, Any]) -> bool:
    """Whether an object without choices says what is wrong."""
    return any(isinstance(plain.get(name), str) and plain[name] for name in ("message", "detail", "msg"))


def _object(body: str) -> Mapping[str, Any]:
    """The JSON object in a body, with every text in it mended."""
    try:
        plain = json.loads(body.lstrip("\ufeff"))
        plain = _mended(plain) if "\\ud" in body.lower() or _SURROGATE.search(body) else plain
    except (ValueError, RecursionError):
        what = reason_of(body)[:60] if _MARKUP.match(body) else "not JSON" if body.strip() else "nothing"
        raise Unreadable(what) from None
    if not isinstance(plain, dict):
        raise Unreadable("JSON, but not an object")
    return plain


def _mended(value: Any) -> Any:
    match value:
        case str():
            return mended(value)
        case list():
            return [_mended(it) for it in value]
        case dict():
            return {mended(key): _mended(it) for key, it in value.items()}
        case _:
            return value


def _received(choice: _Choice, usage: Usage) -> Received:
    message = choice.message or _Message(content=choice.text)
    raw, refusal = message.said, message.refused
    text = spoken(raw) or refusal
    flaw, places = None, list[Place]()
    try:
        places = places_of({"logprobs": choice.logprobs})
    except ValueError as problem:
        flaw = first_line(problem)
    thought = message.thought + len(raw) - len(spoken(raw))
    reason = choice.finish_reason.lower() if isinstance(choice.finish_reason, str) else None
    return Received(
        text=text,
        finish="length" if reason in _LENGTH else "stop" if reason in _STOP else None,
        declined=reason == "content_filter" or bool(refusal),
        places=_from(places, text) if thought else places,
        flaw=flaw,
        reasoning=thought,
        prompt_tokens=usage.prompt_tokens or None,
        tokens=usage.generated,
    )


def _from(places: list[Place], text: str) -> list[Place]:
    """The positions from the start of a text on, without those of reasoning before it; none if the text is absent."""
    said, rest = text.strip(), ""
    for number in range(len(places) - 1, -1, -1):
        rest = places[number].token + rest
        if said and rest.lstrip().startswith(said) and places[number].token.strip():
            return places[number:]
    return []
