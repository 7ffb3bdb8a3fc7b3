//! How many waves one workflow step handles: few enough steps for Argo, as few waves per step as that allows.

use crate::refusal::Refusal;

/// Waves up to this number are a workflow step each. Argo takes 20 s and more between two steps, so a longer run carries
/// several in one: twice as many as it then has steps, which keeps both numbers small, and Argo's part of a wave's time
/// smaller than ours.
pub const SINGLE: usize = 10;

/// Steps that a Workflow may have: with more, its object comes close to what etcd takes.
pub const MOST_STEPS: usize = 200;

/// Consecutive waves per step; `asked` is the parameter, 0 for "decide".
pub fn waves_per_step(waves: usize, asked: usize) -> Result<usize, Refusal> {
    if asked == 0 && waves <= SINGLE {
        return Ok(1);
    }
    if asked == 0 {
        // The root of twice the waves, rounded up.
        let root = (2 * waves - 1).isqrt() + 1;
        return Ok(root.max(waves.div_ceil(MOST_STEPS)));
    }
    let steps = waves.div_ceil(asked);
    if steps > MOST_STEPS {
        return Err(Refusal::new(format!(
            "{waves} waves at `waves-per-step={asked}` are {steps} workflow steps, but Argo can hold {MOST_STEPS}"
        ))
        .hint(format!(
            "use `-p waves-per-step={}` or more, or leave it out; each wave is still verified before the next begins",
            waves.div_ceil(MOST_STEPS)
        )));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::journal::fixtures::run;
    use crate::name::NodeName;
    use crate::plan::{Mode, Plan, PlannedNode};
    use crate::settings::{Given, Settings};

    #[rstest]
    #[case(0, 0, Some(1))]
    #[case(1, 0, Some(1))]
    #[case(10, 0, Some(1))]
    #[case(11, 0, Some(5))]
    #[case(20, 0, Some(7))]
    #[case(100, 0, Some(15))]
    #[case(5_000, 0, Some(100))]
    #[case(80_000, 0, Some(400))]
    #[case(90_000, 0, Some(450))]
    #[case(200, 1, Some(1))]
    #[case(201, 1, None)]
    #[case(5_000, 25, Some(25))]
    #[case(5_000, 24, None)]
    fn a_workflow_never_has_more_steps_than_argo_can_hold(
        #[case] waves: usize,
        #[case] asked: usize,
        #[case] expected: Option<usize>,
    ) {
        assert_eq!(waves_per_step(waves, asked).ok(), expected);
    }

    #[test]
    fn the_refusal_names_the_smallest_number_that_works() {
        let refusal = waves_per_step(5_000, 1).unwrap_err();
        assert!(refusal.hint.unwrap().contains("waves-per-step=25"));
        assert!(waves_per_step(5_000, 25).is_ok());
    }

    proptest! {
        #[test]
        fn waves_are_the_selection_cut_in_order(nodes in 0usize..400, batch in 1usize..60, asked in 0usize..9) {
            let names: Vec<PlannedNode> =
                (0..nodes).map(|n| PlannedNode(NodeName::try_from(format!("n{n}")).unwrap(), String::new(), None)).collect();
            let settings = Settings { batch_size: batch, ..Settings::parse(&Given::new()).unwrap() };
            let waves = nodes.div_ceil(batch);
            prop_assume!(waves_per_step(waves, asked).is_ok());
            let plan = Plan {
                v: 1,
                run: run(),
                target: "4.1.0".into(),
                mode: Mode::Job,
                origin: "4.0.0".into(),
                settings,
                nodes: names.clone(),
                waves_per_item: waves_per_step(waves, asked).unwrap(),
                base_revision: 1,
            };
            prop_assert_eq!(plan.wave_count(), waves);
            let cut: Vec<&[PlannedNode]> = (1..=waves).map(|number| plan.wave(number)).collect();
            prop_assert!(cut.iter().all(|wave| !wave.is_empty() && wave.len() <= batch));
            prop_assert!(cut.iter().rev().skip(1).all(|wave| wave.len() == batch), "only the last is shorter");
            prop_assert_eq!(cut.concat(), names);
            prop_assert!(plan.wave(0).len() <= batch && plan.wave(waves + 1).is_empty());
            let items: Vec<usize> = (1..=plan.item_count()).flat_map(|item| plan.waves_of_item(item)).collect();
            prop_assert_eq!(items, (1..=waves).collect::<Vec<_>>());
            prop_assert!(plan.item_count() <= MOST_STEPS);
        }
    }
}
