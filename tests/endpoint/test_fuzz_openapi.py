"""Schemathesis reads the OpenAPI document and calls what it says is there, over sockets: all is as it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks

from equipoise.serve import load_plan

# Of a server these warnings are no errors: huge numbers overflow in a model, and the answer is infinite.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
FEW = 15
MANY = int(os.environ.get("EQUIPOISE_FUZZ_CASES", "100000")) // 500
load_all_checks()


def not_broken(context: Any, response: Any, case: Any) -> None:
    """504 is an answer too, to a request that gives itself no time."""
    assert response.status_code < 500 or response.status_code == 504, response.text


CHECKS = [
    not_broken, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.negative_data_rejection,
]  # fmt: skip


@pytest.fixture
def url(cascade: Callable[..., Any], sklearn_bundle: Path, array_bundle: Path, served: Any) -> Iterator[str]:
    plans = [cascade().loaded, load_plan(sklearn_bundle, "t"), load_plan(array_bundle, "a b/ü{x}")]
    with served(plans) as server:
        yield f"http://127.0.0.1:{server.port}"


def call_all(url: str, examples: int) -> int:
    """Call every operation with what it takes and with what it does not; how many calls there were."""
    calls = 0
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in document.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not operation.body:
                continue

            @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def call(case: Any) -> None:
                nonlocal calls
                calls += 1
                case.call_and_validate(checks=CHECKS)

            call()
    return calls


def test_all_operations_do_what_the_document_says(url: str) -> None:
    assert call_all(url, FEW) > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_operations_do_what_the_document_says_very_often(url: str) -> None:
    assert call_all(url, MANY) > MANY
