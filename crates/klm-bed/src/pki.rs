//! The cluster's certificates and kubeconfig files, made new for each cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// The certificate authority of one cluster, and the folder where its files are.
pub struct Authority {
    folder: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Who a client certificate speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The user name.
    pub user: &'a str,
    /// Its one group, if any; a certificate made here can hold no more.
    pub group: Option<&'a str>,
}

impl Authority {
    /// Makes a new authority and its key pair for service account tokens.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "klm-bed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let authority = Self { folder: folder.to_owned(), pem, issuer: Issuer::new(params, key) };
        authority.write("ca.crt", &authority.pem)?;
        let tokens = KeyPair::generate()?;
        authority.write("sa.key", &tokens.serialize_pem())?;
        authority.write("sa.pub", &tokens.public_key_pem())?;
        Ok(authority)
    }

    /// Writes `NAME.crt` and `NAME.key` for a server under these names and addresses.
    pub fn server(&self, name: &str, subjects: &[&str]) -> Result<()> {
        let subjects: Vec<String> = subjects.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(subjects)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, &params).map(|_| ())
    }

    /// Writes `NAME.crt` and `NAME.key` for a client.
    pub fn client(&self, name: &str, identity: Identity) -> Result<()> {
        self.client_pem(name, identity).map(|_| ())
    }

    /// Writes a kubeconfig with a client certificate inside.
    pub fn kubeconfig(&self, file: &Path, server: &str, name: &str, identity: Identity) -> Result<()> {
        let encode = |text: &str| STANDARD.encode(text);
        let (certificate, key) = self.client_pem(name, identity)?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bed",
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": name}}],
            "clusters": [{"name": "bed", "cluster": {
                "server": server, "certificate-authority-data": encode(&self.pem),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate-data": encode(&certificate), "client-key-data": encode(&key),
            }}],
        });
        fs::write(file, serde_json::to_vec_pretty(&config)?).with_context(|| format!("cannot write {}", file.display()))
    }

    fn client_pem(&self, name: &str, identity: Identity) -> Result<(String, String)> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, identity.user);
        if let Some(group) = identity.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, &params)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        self.write(&format!("{name}.crt"), &certificate)?;
        self.write(&format!("{name}.key"), &key)?;
        Ok((certificate, key))
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }
}
