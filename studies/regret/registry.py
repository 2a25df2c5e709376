"""All policies by name: a new one is a line here."""

from __future__ import annotations

from studies.regret import ours, policies, tpe
from studies.regret.replay import Policy

POLICIES: dict[str, Policy] = {
    policy.name: policy for policy in (*ours.OURS, *policies.POLICIES, *tpe.POLICIES)
}
