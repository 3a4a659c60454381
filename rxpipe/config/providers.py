"""The providers and limits of a config. Each is made once, and shared by all stages that name it."""

from __future__ import annotations

from pathlib import Path

from rxpipe.config.error_texts import unknown
from rxpipe.config.llm_sections import LOCAL, LimitsConfig
from rxpipe.config.model import Config
from rxpipe.errors import ConfigError
from rxpipe.llm.limits import Limits
from rxpipe.llm.local import local_provider
from rxpipe.llm.provider import Provider
from rxpipe.llm.reply import Prices


class Providers:
    """The providers and limits that stages may name. Each is made on first use."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._providers: dict[str, Provider] = {}
        self._limits: dict[str, Limits] = {}

    def provider(self, name: object, *, key: str) -> Provider:
        """Returns a provider by its name.

        Args:
            name: The name.
            key: The key that contains the name, for errors.

        Raises:
            ConfigError: There is no such provider, or its key or a package is missing.
        """
        known = dict.fromkeys([*self._config.providers, LOCAL])
        if not isinstance(name, str) or name not in known:
            text = unknown(f"no provider is called {name!r}", name, known)
            raise ConfigError(f"{self._config.where(key)}: {text}")
        if name not in self._providers:
            self._providers[name] = self._made(name)
        return self._providers[name]

    def limits(self, section: LimitsConfig, *, key: str) -> Limits:
        """Returns limits. The same name always gives the same object.

        Raises:
            ConfigError: There are no limits with that name.
        """
        if section.shared is None:
            return Limits(requests_per_minute=section.requests_per_minute, tokens_per_minute=section.tokens_per_minute)
        named = self._config.limits.get(section.shared)
        if named is None or named.shared is not None:
            own = [name for name, one in self._config.limits.items() if one.shared is None]
            what = f"no limits are called {section.shared!r}"
            if named is not None:
                what = f"{section.shared!r} only names other limits"
            text = unknown(what, section.shared, own or ["none, until the config's own limits have some"])
            raise ConfigError(f"{self._config.where(key)}: {text}")
        if section.shared not in self._limits:
            self._limits[section.shared] = limits = self.limits(named, key=key)
            limits.name = section.shared
        return self._limits[section.shared]

    def _made(self, name: str) -> Provider:
        section, key = self._config.providers.get(name), f"providers.{name}"
        if section is None:
            return local_provider(name=name)
        limits = None if section.limits is None else self.limits(section.limits, key=f"{key}.limits")
        prices = None if section.prices is None else Prices(**section.prices.model_dump())
        if section.gguf is not None:
            path = (self._config.folder or Path()) / section.gguf
            try:
                return local_provider(path, name=name, limits=limits, prices=prices, options=section.options)
            except ConfigError as error:
                raise ConfigError(f"{self._config.where(f'{key}.gguf')}: {error}") from None
        provider = Provider(
            name=name,
            model=section.model or "",
            base_url=section.base_url,
            api_key_env=section.api_key_env,
            limits=limits,
            prices=prices,
            structured=section.structured,
            options=section.options,
        )
        provider.check(where=self._config.where(f"{key}.api_key_env"))
        return provider
