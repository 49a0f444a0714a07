//! The picture for browsers and documents.

use crate::host::Host;
use crate::plan::Plan;

/// A plan as an SVG image.
#[must_use]
pub fn svg(host: &Host, plan: &Plan) -> String {
    let _ = plan;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\"><title>{}</title></svg>\n",
        host.cpus.len()
    )
}
