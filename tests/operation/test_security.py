"""Every client uses TLS and logs in where Kafka requires it."""

from __future__ import annotations

import json
import subprocess

import pytest

from models.schema import events as ev
from tests.harness.deployment import Deployment
from tests.harness.kafka import RealKafka, free_port

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_ada="secret";'


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1 and its key, and both in one file for the broker."""
    key, cert, both = (tmp_path / name for name in ("key.pem", "cert.pem", "both.pem"))
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    both.write_text(key.read_text() + cert.read_text())
    return cert, both


@pytest.mark.kafka(own=True)
def test_a_worker_runs_on_a_broker_with_tls_and_passwords(certificate, prefix):
    """Topics, ingest, users, lag and dead letters all use SASL_SSL; a wrong password gives one line."""
    cert, both = certificate
    secured = f"127.0.0.1:{free_port()}"
    extra = (
        f"encore.listeners=SASL_SSL://{secured}\n"
        "sasl.enabled.mechanisms=PLAIN\n"
        f"listener.name.sasl_ssl.plain.sasl.jaas.config={LOGIN}\n"
        f"ssl.keystore.type=PEM\nssl.keystore.location={both}\n"
    )
    login = {"security_protocol": "SASL_SSL", "sasl_username": "ada", "sasl_password": "secret", "ssl_cafile": cert}
    with RealKafka(extra):
        encore = Deployment(secured, prefix, **login)
        encore.check("topics", "create")
        with encore.worker() as worker:
            worker.ready()
            encore.send("learning-events", ev.Login(id="l1", user_id="u1", time=1_750_000_000.0), b"no event")
            worker.until(lambda: worker.user("u1").get("events") == 1)
            worker.until(lambda: '"events"' in worker.get("/metrics")[1] or worker.metric("encore_lag_records") == 0)
            encore.read_until("dead-letters", lambda records: len(records) == 1)
            assert json.loads(worker.get("/readyz")[1])["ready"]
        run = Deployment(secured, prefix, **{**login, "sasl_password": "wrong"}).run("topics", "check")
        assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
