"""Trace and log settings: calls that every client has."""

import pytest

import wire
from faults import Fault


def test_log_settings(client):
    settings = client.as_json("get_log_settings")
    settings = settings.get("settings", settings)
    assert {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"} <= set(settings)


def test_log_settings_can_be_changed(server):
    before = wire.get(server.http, "/v2/logging").json
    reply = wire.post(server.http, "/v2/logging", {"log_verbose_level": 1, "log_info": False})
    assert reply.status == 200
    assert (reply.json["log_verbose_level"], reply.json["log_info"]) == (1, False)
    assert wire.get(server.http, "/v2/logging").json == reply.json
    wire.post(server.http, "/v2/logging", {k: before[k] for k in ("log_verbose_level", "log_info")})
    assert wire.get(server.http, "/v2/logging").json == before


def test_log_settings_through_clients(client):
    client.update_log_settings({"log_verbose_level": 0})


REFUSED_LOG_SETTINGS = {
    "wrong_type": {"log_verbose_level": "loud"},
    "not_an_object": [1],
    "unknown": {"log_no_such_thing": True},
    "log_file": {"log_file": "elsewhere.log"},
}


@pytest.mark.parametrize("case", REFUSED_LOG_SETTINGS)
def test_refused_log_settings(server, case):
    fault = server.expect(f"log_settings/{case}", Fault(400, None))
    reply = wire.post(server.http, "/v2/logging", REFUSED_LOG_SETTINGS[case])
    if fault == "accepted":
        assert reply.status == 200
    else:
        fault.check_http(reply.status, reply.error)


def test_trace_settings(client):
    settings = client.as_json("get_trace_settings")
    settings = settings.get("settings", settings)
    assert {"trace_level", "trace_rate", "trace_count"} <= set(settings)


def test_trace_settings_of_a_model(client):
    settings = client.as_json("get_trace_settings", "plain")
    settings = settings.get("settings", settings)
    assert {"trace_level", "trace_rate", "trace_count"} <= set(settings)


def test_trace_settings_of_an_unknown_model(server, client):
    fault = Fault((400, 404), ("NOT_FOUND", "INVALID_ARGUMENT"), "nowhere")
    client.refused(server.expect("trace_of_unknown_model", fault), "get_trace_settings", "nowhere")


def test_trace_settings_can_be_changed(client):
    client.update_trace_settings(settings={"trace_rate": "500", "trace_level": ["OFF"]})
    settings = client.as_json("get_trace_settings")
    rate = settings.get("settings", settings)["trace_rate"]
    assert (rate["value"][0] if isinstance(rate, dict) else rate) == "500"
    client.update_trace_settings(settings={"trace_rate": None})


def test_refused_trace_settings(server, client):
    expected = server.expect("trace_settings/unknown", Fault(400, "INVALID_ARGUMENT", "no_such_setting"))
    if expected == "accepted":
        client.update_trace_settings(settings={"no_such_setting": "1"})
    else:
        client.refused(expected, "update_trace_settings", settings={"no_such_setting": "1"})
