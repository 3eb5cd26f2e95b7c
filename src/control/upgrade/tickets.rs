//! Keys of session tickets that are in no file: clients resume in the successor, too.

use super::channel::{Broken, Channel};
use crate::api::Secret;
use crate::api::handover::{TicketKeys, ToSuccessor};
use crate::control::state::ControlState;
use crate::tls::TicketsMade;

/// Says those of each listener.
pub(super) async fn tell_ticket_keys(
    state: &ControlState,
    channel: &Channel,
) -> Result<(), Broken> {
    for listener in state.view().topology.listeners.values() {
        let Some(TicketsMade(tickets)) = &listener.tickets else { continue };
        let Some((keys, made_at)) = tickets.to_bytes() else { continue };
        let (listener, keys) = (listener.name.clone(), Secret(keys));
        let said = ToSuccessor::TicketKeys(TicketKeys { listener, keys, made_at });
        channel.tell_secret(&said).await?;
    }
    Ok(())
}

/// Goes on with a predecessor's, where the listener is still there and has no file of them.
pub(super) fn take_ticket_keys(state: &ControlState, said: &TicketKeys) {
    let TicketKeys { listener, keys, made_at } = said;
    let view = state.view();
    let Ok(id) = view.names.listener(listener) else { return };
    if let Some(TicketsMade(tickets)) = &view.topology.listeners[id].tickets {
        tickets.go_on_with(&keys.0, *made_at);
    }
}
