"""The only place that opens Kafka clients, so that address and security settings reach every one of them.

Faust opens its own consumer and producer; it gets the same settings through `faust_credentials`.
"""

from __future__ import annotations

import ssl
from typing import Any

import aiokafka
import aiokafka.admin
import confluent_kafka
import confluent_kafka.admin
from aiokafka import errors

from streams.settings import Settings, SettingsError

FATAL_GROUP_ERRORS = (
    errors.GroupAuthorizationFailedError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidGroupIdError,
    errors.InvalidSessionTimeoutError,
    errors.TopicAuthorizationFailedError,
)
"""Errors with which a consumer can never join its group, however often it retries."""


def consumer(settings: Settings, *topics: str, **options: Any) -> aiokafka.AIOKafkaConsumer:
    """Create an aiokafka consumer; start and stop it yourself.

    Args:
        settings: the broker's address and the security settings.
        topics: full names of the topics to subscribe to; none if partitions are assigned later.
        options: further arguments of `AIOKafkaConsumer`.
    """
    return aiokafka.AIOKafkaConsumer(*topics, **options, **connection_options(settings))


def producer(settings: Settings, **options: Any) -> aiokafka.AIOKafkaProducer:
    """Create an aiokafka producer; start and stop it yourself.

    It is idempotent and waits for all in-sync replicas, unless the options say otherwise.
    """
    durable = {"acks": "all", "enable_idempotence": True}
    return aiokafka.AIOKafkaProducer(**durable | options, **connection_options(settings))


def admin(settings: Settings) -> aiokafka.admin.AIOKafkaAdminClient:
    """Create an aiokafka admin client; start and close it yourself."""
    return aiokafka.admin.AIOKafkaAdminClient(**connection_options(settings))


def librdkafka_consumer(settings: Settings, options: dict[str, Any]) -> confluent_kafka.Consumer:
    """Create a confluent-kafka consumer with further options of librdkafka; it prints no log lines."""
    return confluent_kafka.Consumer({**librdkafka_options(settings), "log_level": 0, **options})


def librdkafka_admin(settings: Settings, options: dict[str, Any]) -> confluent_kafka.admin.AdminClient:
    """Create a confluent-kafka admin client with further options of librdkafka; it prints no log lines."""
    return confluent_kafka.admin.AdminClient({**librdkafka_options(settings), "log_level": 0, **options})


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context, or None if the connection does not use TLS.

    Raises:
        SettingsError: a certificate file cannot be read.
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


def faust_credentials(settings: Settings) -> Any:
    """Return Faust's credentials object, or None for a plaintext connection."""
    from faust import auth  # only a worker needs Faust

    context = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        return auth.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password,
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return auth.SSLCredentials(context) if context else None


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments with which an aiokafka client connects to the broker of the settings."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
        "ssl_context": ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password,
        }
    return options


def librdkafka_options(settings: Settings) -> dict[str, Any]:
    """Return the configuration with which a confluent-kafka client connects to the broker of the settings."""
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap),
        "security.protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.ssl_cafile,
            "ssl.certificate.location": settings.ssl_certfile,
            "ssl.key.location": settings.ssl_keyfile,
        }
        options |= {key: file for key, file in files.items() if file}
        options["ssl.endpoint.identification.algorithm"] = "https" if settings.ssl_check_hostname else "none"
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": settings.sasl_password,
        }
    return options
