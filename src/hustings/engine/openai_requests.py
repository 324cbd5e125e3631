"""Builds what is sent to an endpoint: the fields of each request, and the required form of survey answers.

It does not send anything.
"""

import json
from typing import TYPE_CHECKING, Any, Literal

from hustings.engine.base import Request
from hustings.progress import say

if TYPE_CHECKING:
    from hustings.engine.openai import OpenaiSettings

Structured = Literal["auto", "off", "json_schema", "guided_choice", "grammar"]
_FORM = 24
"""Tokens of a JSON answer in addition to the option itself."""
_FIELD = "answer"
_REFUSALS = (400, 404, 415, 422, 501)
"""Statuses with which servers reject the fields of a request."""


class Form:
    """Makes a server answer with one of the options and nothing else, if it can be made to.

    Args:
        kind: `auto` tries a JSON schema until the server refuses it.
        url: the endpoint's address, for messages.
    """

    def __init__(self, kind: Structured, url: str) -> None:
        self._url = url
        self._auto = kind == "auto"
        self._kind = "json_schema" if kind == "auto" else kind

    @property
    def used(self) -> bool:
        """Whether requests ask for a form."""
        return self._kind != "off"

    def fields(self, options: tuple[str, ...]) -> dict[str, Any]:
        """The fields that ask for one of the options."""
        match self._kind:
            case "json_schema":
                answer = {"type": "string", "enum": list(options)}
                schema = {"type": "object", "properties": {_FIELD: answer}, "required": [_FIELD]}
                of = {"name": _FIELD, "strict": True, "schema": {**schema, "additionalProperties": False}}
                return {"response_format": {"type": "json_schema", "json_schema": of}}
            case "guided_choice":  # the second name is vLLM's since version 0.12
                return {"guided_choice": list(options), "structured_outputs": {"choice": list(options)}}
            case "grammar":  # llama.cpp's grammars use JSON's escapes
                return {"grammar": "root ::= " + " | ".join(json.dumps(it, ensure_ascii=False) for it in options)}
            case _:
                return {}

    def room(self, tokens: int) -> int:
        """The longest answer, in tokens, if the option alone may have `tokens` tokens."""
        return tokens + _FORM * (self._kind == "json_schema")

    def refused(self, error: Any) -> bool:
        """Whether to continue without a form because the server does not accept it; this is reported once."""
        status = getattr(error, "status_code", None)
        named = "response_format" in str(error) or "json_schema" in str(error)
        if not self._auto or not (status in _REFUSALS or (named and (status or 500) >= 500)):
            return False
        if self.used:
            self._kind = "off"
            say(f"{self._url}: no structured output ({status}); surveys are read from the generated text.")
        return True

    def read(self, text: str, options: tuple[str, ...]) -> str:
        """The option in an answer that has the required form; otherwise the text itself."""
        try:
            given = json.loads(text)[_FIELD]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            return text
        found = str(given) if isinstance(given, str | int) else ""
        return found if found in options else text


class Bodies:
    """Builds the paths and fields of requests.

    Args:
        settings: the engine's settings.
        model: the model's name at the endpoint.
        official: whether the endpoint is OpenAI's own.
        form: the form of survey answers.
    """

    def __init__(self, settings: "OpenaiSettings", model: str, official: bool, form: Form) -> None:
        self._settings, self._model, self._official, self._form = settings, model, official, form

    def prefills(self, start: str) -> bool:
        """Whether an answer is made to begin with `start` by prefilling it."""
        return bool(start) and (self._settings.api == "completions" or self._settings.start == "prefill")

    def formed(self, request: Request) -> bool:
        """Whether the request requires a form for its answer."""
        return bool(request.options) and not self._settings.logprobs and self._form.used

    def of(self, request: Request, start: str) -> tuple[str, dict[str, Any]]:
        """Path and fields of a request whose answer begins with `start`."""
        settings, sampling = self._settings, request.sampling
        formed = self.formed(request)
        body: dict[str, Any] = {
            "model": self._model,
            "temperature": sampling.temperature,
            **({"top_p": sampling.top_p} if sampling.top_p < 1 else {}),
            "seed": request.seed & 0x7FFFFFFF,
            **settings.extra,
            **(self._form.fields(request.options) if formed else {}),
        }
        limit = "max_completion_tokens" if self._official and settings.api == "chat" else "max_tokens"
        body[limit] = self._form.room(sampling.max_tokens) if formed else sampling.max_tokens
        if sampling.ignore_end:
            body["ignore_eos"] = True
        if self._official and settings.reasoning and settings.api == "chat":
            body["reasoning_effort"] = settings.reasoning
        if settings.api == "completions":
            if request.options and settings.logprobs:
                body["logprobs"] = settings.logprobs
            turns = [*filter(None, [request.system]), request.prompt, start]
            return "/completions", {**body, "prompt": "\n\n".join(turns)}
        if request.options and settings.logprobs:
            body |= {"logprobs": True, "top_logprobs": settings.logprobs}
        prompt = request.prompt
        if start and not self.prefills(start):
            prompt += f"\n\nBegin your answer with these words: {start}"
        messages = [] if request.system is None else [{"role": "system", "content": request.system}]
        messages.append({"role": "user", "content": prompt})
        if self.prefills(start):
            messages.append({"role": "assistant", "content": start})
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return "/chat/completions", {**body, "messages": messages}
