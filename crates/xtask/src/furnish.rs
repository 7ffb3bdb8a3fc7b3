//! What a cluster of ours starts with, given to one that somebody else made.

use anyhow::Result;
use klm_bed::images::{self, Programs};
use klm_bed::{Cluster, parts};

use crate::cluster::say;

/// Pushes the images and the stand-in's charts to the cluster's registry.
pub fn furnish(cluster: &Cluster) -> Result<()> {
    let parts = parts::build(&say)?;
    let programs = Programs::build()?;
    let wanted = [images::base(&parts)?, images::product(&parts, &programs)?].concat();
    cluster.load(&wanted.iter().map(images::write).collect::<Result<Vec<_>>>()?)?;
    cluster.push_kata_charts()
}
