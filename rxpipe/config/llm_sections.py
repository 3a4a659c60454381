"""The sections of a config about language models and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, NOT_SHOWN, says
from rxpipe.config.section_base import Count, Section, Text, without_nulls

LOCAL = "local"
"""The provider that every config has: a small model in this process."""

_OURS = frozenset({"model", "messages", "response_format", "stream"})
"""Parameters of requests that the provider sets."""

Name: TypeAlias = Annotated[
    str, Field(pattern=r"^\S(.*\S)?$"), says("a name: text on one line, with no space around it")
]
Price: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False), says("a number, 0 or more")]
Endpoint: TypeAlias = Annotated[
    str,
    Field(pattern=r"^https?://[^\s/@]+(/\S*)?$"),
    says("a URL like https://api.example.com/v1, without password"),
]
Variable: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    says("the name of an environment variable, like OPENAI_API_KEY, which holds the key", NOT_SHOWN),
]


def _limits_schema(schema: dict[str, Any]) -> None:
    """Add the short form to the schema beside the mapping, as in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "description": "A name in the config's limits."}, mapping]


class LimitsConfig(Section):
    """How often something may be called; or the name of limits that others share."""

    model_config = ConfigDict(json_schema_extra=_limits_schema)

    requests_per_minute: Count | None = Field(
        default=None, description="Number of calls a minute. Calls are spaced evenly."
    )
    tokens_per_minute: Count | None = Field(
        default=None, description="Number of tokens a minute, in prompts and replies of language models."
    )
    shared: Name | None = Field(
        default=None, description="Name of an entry in the config's `limits`, which others may share."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"shared": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> Self:
        own = self.requests_per_minute or self.tokens_per_minute
        if bool(own) == (self.shared is not None):
            raise PydanticCustomError(
                NOT_ALLOWED, "requests_per_minute, tokens_per_minute or both; or shared, the name of other limits"
            )
        return self


class PricesConfig(Section):
    """The prices of a million tokens, in any currency."""

    prompt: Price = Field(description="The price of a million tokens that are sent.")
    completion: Price = Field(description="The price of a million tokens that are returned.")


class ProviderConfig(Section):
    """A language model: behind an OpenAI-compatible endpoint, or a file that runs in this process."""

    model: Text | None = Field(default=None, description="Name of the model at the endpoint.")
    base_url: Endpoint | None = Field(
        default=None, description="URL of the endpoint, without /chat/completions at the end. Default: OpenAI's URL."
    )
    api_key_env: Variable | None = Field(
        default=None,
        repr=False,
        description="Name of the environment variable with the API key. If the variable NAME is not set, NAME_FILE "
        "names a file with the key. Default: OPENAI_API_KEY for OpenAI, no key for other endpoints.",
    )
    gguf: Text | None = Field(
        default=None,
        description="Model file to run in this process, instead of an endpoint. The path starts from the config "
        "file's folder.",
    )
    limits: LimitsConfig | None = Field(default=None, description="Limits of all calls to the provider.")
    prices: PricesConfig | None = Field(default=None, description="Prices of tokens, to count the cost of calls.")
    structured: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto", description="How to ask for JSON. With auto, rxpipe finds out what the server takes."
    )
    options: Mapping[Text, Any] = Field(
        default_factory=dict, description="Parameters of every request, such as temperature."
    )

    @field_validator("options")
    @classmethod
    def _not_ours(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        extra = options.get("extra_body", {})
        if not isinstance(extra, Mapping):
            raise PydanticCustomError(NOT_ALLOWED, "extra_body as a mapping of parameters, or these without extra_body")
        if _OURS & {*options, *extra}:
            raise PydanticCustomError(
                NOT_ALLOWED,
                "parameters such as temperature and max_tokens, but not model, messages, response_format or stream",
            )
        return options

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.model is None) == (self.gguf is None):
            raise PydanticCustomError(NOT_ALLOWED, "model, the name of one at an endpoint, or gguf, a model's file")
        if self.gguf is not None and self.model_fields_set & {"base_url", "api_key_env", "structured"}:
            raise PydanticCustomError(
                NOT_ALLOWED, "gguf without base_url, api_key_env and structured: it runs in this process"
            )
        return self
