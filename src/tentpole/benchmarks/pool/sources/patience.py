"""Sessions that retry, answers that are checked, and errors that say which service failed and what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tentpole.errors import InputError, TentpoleError, optional_module

RETRY_STATUS = (429, 502, 503, 504)


class ServiceError(TentpoleError):
    """A database did not give a usable answer after all retries. What was fetched stays in the cache."""


@dataclass(frozen=True)
class Patience:
    """How often a request is tried again and how long is waited: back_off_s · 2ⁿ, or what Retry-After says."""

    tries: int = 5
    back_off_s: float = 0.5
    timeout_s: float = 60.0


PATIENT = Patience()


def need(module: str) -> Any:
    """The optional module, or InputError with the command that installs it."""
    return optional_module(module, extra="pool", needed_by="fetching")


def session(patience: Patience, secret: Mapping[str, str] | None = None) -> Any:
    """A requests.Session that retries 429 (honouring Retry-After), 502, 503, 504 and broken connections.

    secret : headers for the host that is asked, over the connection that is asked for: a redirect to another host,
        port or scheme does not get them. requests itself does so for the header Authorization alone.
    """
    requests = need("requests")
    hidden = dict(secret or {})

    class Session(requests.Session):  # type: ignore[name-defined,misc]
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            super().rebuild_auth(prepared_request, response)
            if self.should_strip_auth(response.request.url, prepared_request.url):
                for name in hidden:
                    prepared_request.headers.pop(name, None)

    retry = need("urllib3.util").Retry(
        total=patience.tries,
        backoff_factor=patience.back_off_s,
        status_forcelist=RETRY_STATUS,
        allowed_methods=("GET",),
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    made = Session()
    made.headers.update(hidden)
    adapter = requests.adapters.HTTPAdapter(max_retries=retry)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made


def retried(call: Callable[[], Any], service: str, patience: Patience, secret: str = "") -> Any:
    """`call()`, again after a pause when its answer is broken.

    Up to `patience.tries` times for content that cannot be used (truncated JSON), twice for a connection, which the
    session has retried by then.

    Raises ServiceError with the last failure in the end, InputError as it comes. The text of a failure never
    holds `secret`, and the exception it came from is not chained.
    """
    said, attempt = "", 0
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.back_off_s * 2 ** (attempt - 1))
        try:
            return call()
        except InputError:
            raise
        except (ValueError, KeyError) as error:  # JSON errors are ValueErrors
            said = f"{type(error).__name__}: {error}"
        except OSError as error:  # requests' own errors are OSErrors
            said = f"{type(error).__name__}: {error}"
            if attempt:
                break
    if secret:
        said = said.replace(secret, "…")
    raise ServiceError(
        f"{service} gave no usable answer in {attempt + 1} tries ({said[:300]}). Check the network and the "
        "service's status page, then give the same command again: pages already fetched are kept."
    )


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """`call()`, given up after `seconds` with TimeoutError: for calls into libraries that set no time limit.

    What was given up stays in a thread of its own that the end of the program does not wait for.
    """
    outcome: list[tuple[bool, Any]] = []

    def attempt() -> None:
        try:
            outcome.append((True, call()))
        except BaseException as error:  # raised again below, in the caller's thread
            outcome.append((False, error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    done, value = outcome[0]
    if not done:
        raise value
    return value


def get_page(
    http: Any,
    url: str,
    parameters: dict[str, Any],
    service: str,
    patience: Patience,
    is_known: Callable[[dict[str, Any]], bool],
) -> Any:
    """The page of rows at `url`, with retries, also of a page whose rows are all known: an earlier one again.

    Raises ServiceError, or InputError where the request is refused.
    """

    def once() -> Any:
        answer = http.get(url, params=parameters, timeout=patience.timeout_s)
        if 400 <= answer.status_code < 500 and answer.status_code not in RETRY_STATUS:
            raise InputError(f"{service} refused the request with status {answer.status_code}: {answer.text[:200]}")
        answer.raise_for_status()
        content = answer.json()
        if not isinstance(content, dict) or not isinstance(content.get("data"), list):
            raise ValueError('the answer holds no list "data"')
        if content["data"] and all(is_known(row) for row in content["data"]):
            raise ValueError("an earlier page came again")
        return content

    return retried(once, service, patience)
