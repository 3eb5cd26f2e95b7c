//! What a number of connections costs in memory, and what of it stays when they are gone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::host::Snapshot;

/// Bytes that each of `connections` took between two moments. What is the target's is named so;
/// what is the machine's holds both ends of each connection, and everybody else.
pub(crate) fn per_connection(before: &Snapshot, after: &Snapshot, connections: f64) -> Value {
    let each = |bytes: i64| bytes as f64 / connections.max(1.0);
    let by_name = |all: BTreeMap<&str, i64>| -> Map<String, Value> {
        all.into_iter().map(|(name, bytes)| (name.into(), json!(each(bytes)))).collect()
    };
    let slab = after.slab_since(before);
    json!({
        "target_user_pss": after.pss_since(before).map(each),
        "target_cgroup": after.cgroup_since(before).map(each),
        "target_cgroup_by_part": by_name(after.cgroup_parts_since(before)),
        "machine_slab": each(slab.values().sum()),
        "machine_slab_by_cache": by_name(slab),
        "machine_tcp_queued": after.queued_since(before).map(each),
    })
}

/// Whose sockets lie in the machine's slab: each connection has one end with the generator, and
/// those of the target and its servers, as far as they are on this machine.
pub(crate) fn sockets(before: &Snapshot, after: &Snapshot, connections: f64) -> Value {
    let all = after.sockets_since(before).map(|sockets| sockets as f64);
    let each = |sockets: f64| sockets / connections.max(1.0);
    let slab = after.slab_since(before).values().sum::<i64>() as f64;
    json!({
        "generator_ends": each(connections),
        "other_ends": all.map(|sockets| each(sockets - connections)),
        "machine_slab_bytes_for_each_end": all.filter(|all| *all > 0.0).map(|all| slab / all),
    })
}

/// Bytes that the target has above what it had before anybody came.
pub(crate) fn kept(idle: &Snapshot, closed: &Snapshot) -> Value {
    json!({
        "target_user_pss_bytes": closed.pss_since(idle),
        "target_cgroup_bytes": closed.cgroup_since(idle),
    })
}
