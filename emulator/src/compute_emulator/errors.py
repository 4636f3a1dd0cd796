"""The errors of the Compute API: HTTP status, reason, operation error code and Google's wording.

Handlers raise them. `wire` turns them into the error body, `operations` into the `error` of an
operation. Both forms carry what Google's clients need: the legacy `errors[]` list in bodies,
`httpErrorStatusCode` and `httpErrorMessage` in operations.
"""

from __future__ import annotations

from typing import Any, ClassVar

JsonObject = dict[str, Any]

HTTP_MESSAGES = {
    400: "BAD REQUEST",
    403: "FORBIDDEN",
    404: "NOT FOUND",
    409: "CONFLICT",
    412: "PRECONDITION FAILED",
    413: "REQUEST ENTITY TOO LARGE",
    429: "TOO MANY REQUESTS",
    500: "INTERNAL SERVER ERROR",
    501: "NOT IMPLEMENTED",
    502: "BAD GATEWAY",
    503: "SERVICE UNAVAILABLE",
    504: "GATEWAY TIMEOUT",
}


class ApiError(Exception):
    """An error in Google's form. Subclasses set status, reason and code; instances may override
    them.
    """

    status: int = 400
    reason: str = "invalid"
    code: str = "INVALID_USAGE"
    domain: ClassVar[str] = "global"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str | None = None,
        code: str | None = None,
        location: str | None = None,
        details: list[JsonObject] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = self.status if status is None else status
        self.reason = self.reason if reason is None else reason
        self.code = self.code if code is None else code
        self.location = location
        self.details = details or []

    def body(self) -> JsonObject:
        """The JSON of the HTTP response."""
        entry: JsonObject = {"message": self.message, "domain": self.domain, "reason": self.reason}
        if self.location:
            entry |= {"location": self.location, "locationType": "parameter"}
        error: JsonObject = {"code": self.status, "message": self.message, "errors": [entry]}
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def in_operation(self) -> JsonObject:
        """The members of a failed operation."""
        entry: JsonObject = {"code": self.code, "message": self.message}
        if self.location:
            entry["location"] = self.location
        if self.details:
            entry["errorDetails"] = self.details
        return {
            "error": {"errors": [entry]},
            "httpErrorStatusCode": self.status,
            "httpErrorMessage": HTTP_MESSAGES.get(self.status, "ERROR"),
        }


class NotFound(ApiError):
    """`path` starts with `projects/`."""

    status, reason, code = 404, "notFound", "RESOURCE_NOT_FOUND"

    def __init__(self, path: str) -> None:
        super().__init__(f"The resource '{path}' was not found")


class AlreadyExists(ApiError):
    status, reason, code = 409, "alreadyExists", "RESOURCE_ALREADY_EXISTS"

    def __init__(self, path: str) -> None:
        super().__init__(f"The resource '{path}' already exists")


class OperationInProgress(ApiError):
    status, reason, code = 409, "operationInProgress", "RESOURCE_OPERATION_IN_PROGRESS"


class InUse(ApiError):
    """`word` is the resource type in snake case, such as `instance_template`. Both paths start with
    `projects/`.
    """

    reason, code = "resourceInUseByAnotherResource", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"

    def __init__(self, word: str, path: str, user: str) -> None:
        super().__init__(f"The {word} resource '{path}' is already being used by '{user}'")


class NotReady(ApiError):
    """The resource exists, but the operation that creates or deletes it is still running."""

    reason, code = "resourceNotReady", "RESOURCE_NOT_READY"

    def __init__(self, path: str) -> None:
        super().__init__(f"The resource '{path}' is not ready")


class Required(ApiError):
    """`field` is a path such as `resource.name`."""

    reason, code = "required", "REQUIRED_FIELD"

    def __init__(self, field: str) -> None:
        super().__init__(f"Required field '{field}' not specified")


class Invalid(ApiError):
    """An invalid value. `field` is a path such as `resource.versions[0].targetSize`."""

    reason, code = "invalid", "INVALID_FIELD_VALUE"

    def __init__(self, field: str, value: object, explanation: str) -> None:
        super().__init__(f"Invalid value for field '{field}': '{value}'. {explanation}")


class TooLarge(ApiError):
    """More than a field may have. `field` is a path such as `resource.hostRules`."""

    status, reason, code = 413, "fieldSizeTooLarge", "FIELD_SIZE_TOO_LARGE"

    def __init__(self, field: str, most: int, actual: int, what: str = "element") -> None:
        super().__init__(
            f"Value for field '{field}' is too large: maximum size {most} {what}(s); actual size"
            f" {actual}."
        )


class BadRequest(ApiError):
    """A 400 with a message of the caller's."""


class ConditionNotMet(ApiError):
    status, reason, code = 412, "conditionNotMet", "CONDITION_NOT_MET"


class StaleFingerprint(ConditionNotMet):
    def __init__(self) -> None:
        super().__init__("Invalid fingerprint.")


class Forbidden(ApiError):
    status, reason, code = 403, "forbidden", "PERMISSIONS_ERROR"


class RateLimited(ApiError):
    status, reason, code = 403, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"


class QuotaExceeded(ApiError):
    status, reason, code = 403, "quotaExceeded", "QUOTA_EXCEEDED"


class Unavailable(ApiError):
    status, reason, code = 503, "backendError", "SERVICE_UNAVAILABLE"


class Unreachable(Unavailable):
    """A zone that does not answer. `scope` is for example `zones/us-central1-a`."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"The scope '{scope}' cannot be reached. Please try again later.")


class Internal(ApiError):
    status, reason, code = 500, "internalError", "INTERNAL_ERROR"


class NotBuilt(ApiError):
    """The method is part of the API, but the emulator does not implement it."""

    status, reason, code = 501, "notImplemented", "UNSUPPORTED_OPERATION"

    def __init__(self, method_id: str) -> None:
        super().__init__(
            f"{method_id} is part of Compute v1, but the emulator does not implement it."
            " GET /control/coverage lists the implemented methods."
        )


class ConnectionDropped(Exception):
    """The connection ends without a response, as after a crash or a network failure."""
