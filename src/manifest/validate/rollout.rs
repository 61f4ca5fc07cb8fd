//! Rollout policy.

use super::app::duration_or;
use super::health::at_least_one;
use crate::manifest::field::{CountOrPercentText, Field};
use crate::manifest::limits;
use crate::manifest::problems::Cx;
use crate::manifest::raw::app as raw;
use crate::model::quantity::CountOrPercent;
use crate::model::spec::{OnFailure, RolloutPolicy, Strategy};

pub fn rollout(cx: &Cx<'_>, field: &Field<raw::Rollout>, replicas: u32) -> RolloutPolicy {
    let raw = field.get().cloned().unwrap_or_default();
    let strategy = strategy(cx, &raw.strategy);
    let max_surge = amount(cx, &raw.max_surge, 1);
    let max_unavailable = amount(cx, &raw.max_unavailable, 0);
    if strategy == Strategy::Rolling
        && let Some(node) = raw.max_unavailable.node().or(raw.max_surge.node())
    {
        let surge = max_surge.of_rounding_up(replicas);
        let unavailable = max_unavailable.of_rounding_down(replicas);
        let zero = |c| matches!(c, CountOrPercent::Count(0) | CountOrPercent::Percent(0));
        if surge == 0
            && unavailable == 0
            && (replicas > 0 || zero(max_surge) && zero(max_unavailable))
        {
            cx.problem_hint(
                node,
                format!(
                    "with {replicas} replicas, maxSurge {max_surge} is 0 and maxUnavailable {max_unavailable} is 0: \
                     no instance may be added and none may stop, so a rollout could never take a step"
                ),
                "set one of them to at least 1",
            );
        }
    }
    RolloutPolicy {
        strategy,
        max_surge,
        max_unavailable,
        min_healthy_time: duration_or(cx, &raw.min_healthy_time, "10s"),
        healthy_deadline: positive(cx, &raw.healthy_deadline, "5m"),
        start_attempts: at_least_one(cx, &raw.start_attempts, 3),
        progress_deadline: positive(cx, &raw.progress_deadline, "10m"),
        bake_time: duration_or(cx, &raw.bake_time, "0s"),
        on_failure: match raw.on_failure.get() {
            None | Some(raw::OnFailure::Rollback) => OnFailure::Rollback,
            Some(raw::OnFailure::Pause) => OnFailure::Pause,
        },
    }
}

fn positive(
    cx: &Cx<'_>,
    field: &Field<crate::manifest::field::DurationText>,
    default: &str,
) -> std::time::Duration {
    let value = duration_or(cx, field, default);
    if let Some(node) = field.node()
        && value.is_zero()
    {
        cx.problem(node, "a deadline of zero has passed before anything starts");
    }
    value
}

fn strategy(cx: &Cx<'_>, field: &Field<raw::Strategy>) -> Strategy {
    let Some((node, strategy)) = field.set() else {
        return Strategy::Rolling;
    };
    match strategy {
        raw::Strategy::Rolling => Strategy::Rolling,
        raw::Strategy::Recreate => Strategy::Recreate,
        raw::Strategy::BlueGreen => {
            cx.unsupported(
                node,
                "strategy blueGreen",
                "rolling with maxSurge 100% also starts the whole new set beside the old one",
            );
            Strategy::Rolling
        }
        raw::Strategy::Canary => {
            cx.unsupported(
                node,
                "strategy canary",
                "rolling with maxSurge 1 and a long minHealthyTime also starts with one instance",
            );
            Strategy::Rolling
        }
    }
}

fn amount(cx: &Cx<'_>, field: &Field<CountOrPercentText>, default: u32) -> CountOrPercent {
    cx.parse(field, |t| &t.0, parse_amount)
        .unwrap_or(CountOrPercent::Count(default))
}

fn parse_amount(text: &str) -> Result<CountOrPercent, String> {
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let bound = if percent { 100 } else { limits::REPLICAS };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<u32>() {
        Ok(n) if digits && n <= bound => Ok(if percent {
            CountOrPercent::Percent(n)
        } else {
            CountOrPercent::Count(n)
        }),
        Ok(_) | Err(_) => Err(format!(
            "\"{text}\" is neither a count from 0 to {} nor a percentage from 0% to 100%",
            limits::REPLICAS
        )),
    }
}
