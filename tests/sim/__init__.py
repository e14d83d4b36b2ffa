"""A deterministic simulator: the real core, a fake NATS, fake agents, virtual time; one seed decides all."""
