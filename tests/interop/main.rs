//! Programs that others wrote, joined through the gateway.
