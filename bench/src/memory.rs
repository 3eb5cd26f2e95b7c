//! What a number of connections costs in memory, and what of it stays when they are gone.

use serde_json::{Map, Value, json};

use crate::account::Snapshot;

/// Bytes that each of `connections` took between two moments.
pub(crate) fn per_connection(before: &Snapshot, after: &Snapshot, connections: f64) -> Value {
    let each = |bytes: Option<i64>| bytes.map(|bytes| bytes as f64 / connections.max(1.0));
    let slab = after.slab_since(before);
    let total: i64 = slab.values().sum();
    let by_cache: Map<String, Value> =
        slab.iter().map(|(cache, bytes)| ((*cache).into(), json!(each(Some(*bytes))))).collect();
    json!({
        "target_user_pss": each(after.pss_since(before)),
        "target_cgroup": each(after.cgroup_since(before)),
        "machine_slab": each(Some(total)), "machine_slab_by_cache": by_cache,
    })
}

/// Bytes that the target has above what it had before anybody came.
pub(crate) fn kept(idle: &Snapshot, closed: &Snapshot) -> Value {
    json!({
        "target_user_pss_bytes": closed.pss_since(idle),
        "target_cgroup_bytes": closed.cgroup_since(idle),
    })
}
