"""Problem documents: every code has a meaning, and every answer its members."""

import json

import pytest

from stoker.config.json_types import Json
from stoker.daemon.problems_http import MEANINGS, AnyCode, HttpCode, Problem, of_refusal, raw_answer
from stoker.pools.requests import Code, Refusal
from tests.conftest import ROOT


def test_every_code_has_a_meaning() -> None:
    assert {*HttpCode, *Code} == set(MEANINGS)
    assert len({str(code) for code in MEANINGS}) == len(MEANINGS)


@pytest.mark.parametrize("code", list(MEANINGS), ids=str)
def test_every_code_has_its_section_in_the_documentation(code: AnyCode) -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    section = page.partition(f"\n### {code}\n")[2].partition("\n### ")[0]
    assert "**Cause.**" in section
    assert "**Remedy.**" in section


def test_the_documentation_has_no_code_that_does_not_exist() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    described = {line[4:] for line in page.splitlines() if line.startswith("### ")}
    assert {str(code) for code in MEANINGS} == described


def test_a_refusal_becomes_a_problem_with_its_details() -> None:
    refusal = Refusal(
        Code.QUEUE_FULL, "The queue is full.", retry_after=0.2, details={"pool": "web"}
    )
    problem = of_refusal(refusal)
    expected: dict[str, Json] = {
        "type": "urn:stoker:problem:queue-full",
        "title": "Queue full",
        "status": 429,
        "code": "queue-full",
        "detail": "The queue is full.",
        "requestId": "r-1",
        "retryAfter": 0.2,
        "pool": "web",
    }
    assert expected == problem.document("r-1")
    assert "1" == problem.retry_after_header()


@pytest.mark.parametrize("code", list(MEANINGS), ids=str)
def test_what_may_work_later_always_says_when(code: AnyCode) -> None:
    later = MEANINGS[code].status in {429, 503}
    assert later == (Problem(code, "A sentence.").retry_after_header() is not None)


def test_retry_after_is_whole_seconds_rounded_up() -> None:
    assert "3" == Problem(HttpCode.BUSY, "", retry_after=2.1).retry_after_header()


def test_details_cannot_replace_the_members_of_a_problem() -> None:
    problem = Problem(Code.DENIED, "No.", details={"code": "other", "status": 1})
    assert ("denied", 403) == (problem.document("r")["code"], problem.document("r")["status"])


def test_a_raw_answer_is_complete_http() -> None:
    head, _, body = raw_answer(Problem(HttpCode.BUSY, "Full."), "r-1").partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert "HTTP/1.1 503 Too busy" == lines[0]
    assert f"Content-Length: {len(body)}" in lines
    assert "Connection: close" in lines
    assert "Retry-After: 1" in lines
    assert "busy" == json.loads(body)["code"]
