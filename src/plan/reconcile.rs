//! One app's next changes.

use super::work::Work;

pub fn plan_app(_work: &mut Work<'_>) {}
