//! What should happen to a fleet: names, decisions and messages. Pure: no clock, no network, no files, no async.
//!
//! Everything that users rely on by name is in [`contract`]; everything else here turns facts into decisions.

pub mod contract;
pub mod drain;
pub mod duration;
pub mod fleet_table;
pub mod forecast;
pub mod gate;
pub mod hazard;
pub mod helm_command;
pub mod journal;
pub mod mode;
pub mod name;
pub mod node;
pub mod origin;
pub mod phase;
pub mod plan;
pub mod pod;
pub mod post_render;
pub mod proof;
pub mod refusal;
pub mod release;
pub mod report;
pub mod screen;
pub mod selection;
pub mod selector;
pub mod set_values;
pub mod settings;
pub mod standing;
pub mod toleration;
pub mod values;
pub mod verification;
pub mod version;
pub mod wave;
