"""The certificates of a search: one for each process that talks to its shards."""

from __future__ import annotations

from deploy.run import Run
from deploy.settings import SearchSettings


def issue_certificates(settings: SearchSettings, run: Run) -> None:
    """Give every process that talks to the shards its certificate, or renew it, where TLS is on.

    Also where another life of the search had it on: what is there is used.
    """
    if not settings.shards.needs_tls and run.certificates is None:
        return
    # Whoever needs no certificates does not wait for the library.
    from ps.authority import CertificateAuthority

    authority = CertificateAuthority.open_or_create(run.certificates_path, run.path.name)
    for name in ("launcher", "observer"):
        authority.issue(name)
    for shard in range(settings.num_shards):
        authority.issue(f"shard-{shard}")
    for replica in range(settings.num_replicas):
        authority.issue(f"replica-{replica}")
