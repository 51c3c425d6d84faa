"""How every client that we open speaks to Kafka: plainly, over TLS, or logged in."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka import errors
from faust import auth

from streams.settings import Settings, SettingsError

FATAL_GROUP_ERRORS = (
    errors.GroupAuthorizationFailedError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.TopicAuthorizationFailedError,
)
"""Errors with which a consumer can never join its group, however often it retries."""


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context, None where none is spoken.

    Raises:
        SettingsError: a certificate's file cannot be read.
    """
    if not settings.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
        context.check_hostname = settings.ssl_check_hostname
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None)
    except OSError as error:
        raise SettingsError(f"ssl_cafile, ssl_certfile or ssl_keyfile: {error}") from None
    return context


def credentials(settings: Settings) -> Any:
    """Return how Faust logs in, None where nobody does."""
    context = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        return auth.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return auth.SSLCredentials(context) if context else None


def client(settings: Settings) -> dict[str, Any]:
    """Return the arguments with which an aiokafka client reaches the settings' broker."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password,
        }
    return arguments


def librdkafka(settings: Settings) -> dict[str, Any]:
    """Return the configuration with which a confluent-kafka client reaches the settings' broker."""
    config: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap),
        "security.protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.ssl_cafile,
            "ssl.certificate.location": settings.ssl_certfile,
            "ssl.key.location": settings.ssl_keyfile,
        }
        config |= {key: file for key, file in files.items() if file}
        config["ssl.endpoint.identification.algorithm"] = "https" if settings.ssl_check_hostname else "none"
    if settings.security_protocol.startswith("SASL"):
        config |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": settings.sasl_password,
        }
    return config
