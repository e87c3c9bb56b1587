"""What a server's certificate is verified with, and what a client shows of itself: for the load and for all else."""

import ssl

from bench.types import UserError


def tls_context(ca_file: str | None, client_cert: str | None, client_key: str | None) -> ssl.SSLContext:
    """Verify against `ca_file` or the system's store, and show `client_cert` to a server that asks; PEM files.

    Raises UserError for a file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as problem:
        raise UserError(
            f"--ca-file {ca_file!r} cannot be used: {problem.strerror or problem}; expected a PEM file"
        ) from None
    if client_cert is not None:
        try:
            # Of a key that is encrypted OpenSSL would otherwise ask the terminal for the password.
            context.load_cert_chain(client_cert, client_key, password="")
        except (OSError, ValueError) as problem:
            given = "--client-cert" if client_key is None else "--client-cert and --client-key"
            reason = getattr(problem, "strerror", None) or problem
            raise UserError(f"{given} cannot be used: {reason}; expected PEM files, the key not encrypted") from None
    return context
