//! Written image layouts, read back as a registry or containerd would.

use std::fs;
use std::path::Path;

use super::{Compression, Image, Layer, Layout, Platform, archive};
use crate::parts::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn tool(architecture: &str) -> Image {
    Image::new(Platform::linux(architecture))
        .layer(Layer::new().bytes("/bin/tool", architecture, 0o755).link("/bin/alias", "tool"))
        .user("65532:65532")
        .entrypoint(["/bin/tool"])
        .label("org.opencontainers.image.title", "tool")
}

fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
    let actual = hex(&Sha256::digest(&bytes));
    assert_eq!(actual, digest, "a blob's name is its hash");
    bytes
}

fn parsed(layout: &Path, descriptor: &Value) -> Value {
    let bytes = blob(layout, &descriptor["digest"]);
    assert_eq!(descriptor["size"], json!(bytes.len()));
    serde_json::from_slice(&bytes).unwrap()
}

fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

#[test]
fn one_image_can_have_several_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap();
    let digest = layout.add(&tool("amd64"), &["a.example/tool:1", "a.example/tool:2"]).unwrap();
    layout.finish().unwrap();
    let index = index(folder.path());
    let named: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(entry["digest"], json!(digest));
            entry["annotations"]["io.containerd.image.name"].as_str().unwrap()
        })
        .collect();
    assert_eq!(named, ["a.example/tool:1", "a.example/tool:2"]);
}

#[test]
fn the_configuration_says_how_to_run_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap();
    layout.add(&tool("amd64"), &["tool:1"]).unwrap();
    layout.finish().unwrap();
    let manifest = parsed(folder.path(), &index(folder.path())["manifests"][0]);
    let config = parsed(folder.path(), &manifest["config"]);
    assert_eq!(config["architecture"], "amd64");
    assert_eq!(config["os"], "linux");
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/tool"]));
    assert_eq!(config["config"]["Env"], json!(["PATH=/usr/local/bin:/usr/bin:/bin"]));
}

#[test]
fn a_platform_set_lists_each_platform_with_its_own_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap().compression(Compression::Gzip);
    layout.add_platforms(&[tool("amd64"), tool("arm64")], &["tool:1"]).unwrap();
    layout.finish().unwrap();
    let set = parsed(folder.path(), &index(folder.path())["manifests"][0]);
    let platforms: Vec<_> = set["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let manifest = parsed(folder.path(), entry);
            let config = parsed(folder.path(), &manifest["config"]);
            assert_eq!(config["architecture"], entry["platform"]["architecture"]);
            entry["platform"].clone()
        })
        .collect();
    assert_eq!(
        platforms,
        [
            json!({"architecture": "amd64", "os": "linux"}),
            json!({"architecture": "arm64", "os": "linux", "variant": "v8"}),
        ]
    );
}

#[test]
fn a_compressed_layer_unpacks_to_the_bytes_that_the_configuration_names() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap().compression(Compression::Gzip);
    layout.add(&tool("amd64"), &["tool:1"]).unwrap();
    layout.finish().unwrap();
    let manifest = parsed(folder.path(), &index(folder.path())["manifests"][0]);
    let config = parsed(folder.path(), &manifest["config"]);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&blob(folder.path(), &manifest["layers"][0]["digest"])[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    let hash = hex(&Sha256::digest(&unpacked));
    assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{hash}")]));
}

fn packed(layout: &Path, names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive(layout, names, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_same_input_makes_the_same_archive() {
    let folder = tempfile::tempdir().unwrap();
    let archives = ["one", "two"].map(|name| {
        let path = folder.path().join(name);
        let mut layout = Layout::create(&path).unwrap().compression(Compression::Gzip);
        layout.add(&tool("amd64"), &["tool:1"]).unwrap();
        layout.finish().unwrap();
        packed(&path, &[])
    });
    assert!(archives[0] == archives[1]);
}

#[test]
fn an_archive_can_give_an_image_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut layout = Layout::create(folder.path()).unwrap();
    let digest = layout.add(&tool("amd64"), &[]).unwrap();
    layout.finish().unwrap();
    let whole = tempfile::tempdir().unwrap();
    tar::Archive::new(&packed(folder.path(), &["a.example/tool:1", "b.example/tool:2"])[..]).unpack(&whole).unwrap();
    let entries = index(whole.path())["manifests"].as_array().unwrap().clone();
    let found = entries.iter().map(|entry| {
        assert_eq!(entry["digest"], json!(digest));
        blob(whole.path(), &entry["digest"]);
        entry["annotations"]["io.containerd.image.name"].as_str().unwrap()
    });
    assert_eq!(found.collect::<Vec<_>>(), ["a.example/tool:1", "b.example/tool:2"]);
}

#[test]
fn an_unfinished_layout_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let _ = Layout::create(folder.path().join("half")).unwrap();
    let error = archive(&folder.path().join("half"), &[], std::io::sink()).unwrap_err();
    assert!(format!("{error:#}").contains("isn't a whole image layout"));
}
