//! The catalog: a certificate trust list with the hash of each member, as PKCS#7 signed data without a
//! signer.
//!
//! Windows documents the files but not the format; the structures are those of wincrypt.h (`CTL_INFO`) and
//! mscat.h (`CAT_NAMEVALUE`, `CAT_MEMBERINFO2`) in their ASN.1 encoding. osslsigncode signs the result and
//! verifies files against it.

use anyhow::{Context, Result, anyhow};
use der::{
    Any, Encode, Tag, TagNumber,
    asn1::{BitString, BmpString, Null, ObjectIdentifier, OctetString, UtcTime},
};
use sha2::{Digest, Sha256};

use super::{authenticode, date::Date};

/// Versions of Windows that the packages are for, as Inf2Cat names them and as version numbers.
const SYSTEMS: &str = "XPX64,Server2003X64,VistaX64,Server2008X64,7X64,Server2008R2X64,8X64,Server8X64,_v63_X64,\
                       _v63_Server_X64,_v100_X64,Server10_X64";
const SYSTEM_VERSIONS: &str = "2:5.2,2:6.0,2:6.1,2:6.2,2:6.3,2:10.0";

/// `szOID_RSA_signedData`, `szOID_CTL` and what is in one.
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TRUST_LIST: &str = "1.3.6.1.4.1.311.10.1";
const CATALOG_LIST: &str = "1.3.6.1.4.1.311.12.1.1";
const CATALOG_LIST_MEMBER_2: &str = "1.3.6.1.4.1.311.12.1.3";
const NAME_VALUE: &str = "1.3.6.1.4.1.311.12.2.1";
const MEMBER_INFO: &str = "1.3.6.1.4.1.311.12.2.2";
const INDIRECT_DATA: &str = "1.3.6.1.4.1.311.2.1.4";
const IMAGE_DATA: &str = "1.3.6.1.4.1.311.2.1.15";
const LINK: &str = "1.3.6.1.4.1.311.2.1.25";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
/// CRYPTCAT_ATTR_AUTHENTICATED | _NAMEASCII | _DATAASCII.
const ATTRIBUTE_FLAGS: u32 = 0x1001_0001;
/// The subject types of images and of any other file (mscat.h).
const IMAGE_SUBJECT: &str = "{C689AAB8-8E78-11D0-8C47-00C04FC295EE}";
const FILE_SUBJECT: &str = "{DE351A42-8E59-11D0-8C47-00C04FC295EE}";

/// Returns the catalog of these files (name and contents) for these hardware ids. Equal input gives equal
/// bytes.
///
/// # Errors
/// A member that looks like an image is none.
pub(super) fn of(members: &[(&str, &[u8])], hardware_ids: &[String], date: Date) -> Result<Vec<u8>> {
    let mut hashed = Vec::new();
    for (name, contents) in members {
        let image = name.ends_with(".sys");
        let hash = if image {
            authenticode::digest(contents).with_context(|| (*name).to_owned())?
        } else {
            Sha256::digest(contents).into()
        };
        hashed.push((hash, member(name, &hash, image)?));
    }
    hashed.sort_by_key(|(hash, _)| *hash);
    // The list's identifier: any sixteen bytes that differ from list to list.
    let identifier = hashed.iter().fold(Sha256::new(), |all, (hash, _)| all.chain_update(hash)).finalize();
    let members: Vec<Any> = hashed.into_iter().map(|(_, member)| member).collect();

    let mut extensions = vec![extension("OS", SYSTEMS)?];
    for (n, id) in (1..).zip(hardware_ids) {
        extensions.push(extension(&format!("HWID{n}"), &id.to_ascii_lowercase())?);
    }
    let list = sequence(&[
        sequence(&[oid(CATALOG_LIST)?])?,
        any(&OctetString::new(&identifier[..16])?)?,
        any(&UtcTime::from_unix_duration(date.since_epoch())?)?,
        sequence(&[oid(CATALOG_LIST_MEMBER_2)?, any(&Null)?])?,
        sequence(&members)?,
        context(0, true, &[sequence(&extensions)?])?,
    ])?;
    let signed = sequence(&[
        any(&1_u8)?,
        set(vec![])?,
        sequence(&[oid(TRUST_LIST)?, context(0, true, &[list])?])?,
        set(vec![])?,
    ])?;
    Ok(sequence(&[oid(SIGNED_DATA)?, context(0, true, &[signed])?])?.to_der()?)
}

/// Returns a member: its hash as tag, and what is known of it.
fn member(name: &str, hash: &[u8], image: bool) -> Result<Any> {
    let obsolete = BmpString::from_utf8("<<<Obsolete>>>")?.into_bytes().into_vec();
    let file = context(2, true, &[Any::new(context_tag(0, false), obsolete)?])?;
    let (data, subject) = if image {
        let flags = BitString::new(5, [0xa0])?;
        let data = sequence(&[any(&flags)?, context(0, true, &[file])?])?;
        (sequence(&[oid(IMAGE_DATA)?, data])?, IMAGE_SUBJECT)
    } else {
        (sequence(&[oid(LINK)?, file])?, FILE_SUBJECT)
    };
    let algorithm = sequence(&[oid(SHA256)?, any(&Null)?])?;
    let indirect = sequence(&[data, sequence(&[algorithm, any(&OctetString::new(hash)?)?])?])?;
    let information = sequence(&[any(&BmpString::from_utf8(subject)?)?, any(&512_u16)?])?;
    let attributes = vec![
        attribute(NAME_VALUE, name_value("File", &name.to_ascii_lowercase())?)?,
        attribute(NAME_VALUE, name_value("OSAttr", SYSTEM_VERSIONS)?)?,
        attribute(INDIRECT_DATA, indirect)?,
        attribute(MEMBER_INFO, information)?,
    ];
    sequence(&[any(&OctetString::new(hash)?)?, set(attributes)?])
}

fn attribute(kind: &str, value: Any) -> Result<Any> {
    sequence(&[oid(kind)?, set(vec![value])?])
}

/// Returns `CAT_NAMEVALUE`: a name and a text of UTF-16 units.
fn name_value(name: &str, value: &str) -> Result<Any> {
    let units: Vec<u8> = value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    sequence(&[any(&BmpString::from_utf8(name)?)?, any(&ATTRIBUTE_FLAGS)?, any(&OctetString::new(units)?)?])
}

fn extension(name: &str, value: &str) -> Result<Any> {
    sequence(&[oid(NAME_VALUE)?, any(&OctetString::new(name_value(name, value)?.to_der()?)?)?])
}

fn any(value: &impl Encode) -> Result<Any> {
    use der::Decode as _;
    Ok(Any::from_der(&value.to_der()?)?)
}

fn oid(text: &str) -> Result<Any> {
    any(&ObjectIdentifier::new(text).map_err(|error| anyhow!("{text}: {error}"))?)
}

fn concat(parts: &[Any]) -> Result<Vec<u8>> {
    Ok(parts.iter().map(Encode::to_der).collect::<der::Result<Vec<_>>>()?.concat())
}

fn sequence(parts: &[Any]) -> Result<Any> {
    Ok(Any::new(Tag::Sequence, concat(parts)?)?)
}

/// Returns a set, in the order that DER asks for.
fn set(parts: Vec<Any>) -> Result<Any> {
    let mut encoded = parts.iter().map(Encode::to_der).collect::<der::Result<Vec<_>>>()?;
    encoded.sort();
    Ok(Any::new(Tag::Set, encoded.concat())?)
}

fn context_tag(number: u8, constructed: bool) -> Tag {
    Tag::ContextSpecific { constructed, number: TagNumber::new(number) }
}

fn context(number: u8, constructed: bool, parts: &[Any]) -> Result<Any> {
    Ok(Any::new(context_tag(number, constructed), concat(parts)?)?)
}
