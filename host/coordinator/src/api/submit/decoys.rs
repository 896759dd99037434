//! Decoys of a run that is being submitted.
//!
//! They are drawn of its inputs as these lie on the disk, in canonical form, and lie there themselves before the run exists: whatever kills the
//! coordinator, a run has all of its decoys or was never submitted.

use std::collections::BTreeMap;

use bytes::Bytes;
use manyhands_decoys::Pool;
use manyhands_model::{Codec, UnitId};
use manyhands_placeholder::Scope;
use manyhands_scheduler::{Decoys, Level, Rule};

use super::{GROUP_BYTES, Submission};
use crate::problem::{Answer, ApiError};
use crate::records::{Content, Pack, Records};
use crate::secrets::SecretsError;
use crate::vault::VaultError;

/// Decoys that are drawn of the same inputs, and the records of which these are. So a value of an input is in few decoys, and few inputs are read.
const OF_A_POOL: u32 = 16;
const PACKS: usize = 4;
/// Inputs of which decoys are drawn, together: reading them takes some forty times as much memory. Unit: bytes.
const POOL_BYTES_MAX: usize = 256 << 10;

impl Submission<'_> {
    /// Makes up decoys, if the run is to have any. To be asked once all inputs have been taken.
    pub(super) async fn make_up(&mut self) -> Answer<Decoys> {
        let wanted = self.wanted();
        if wanted == 0 {
            return Ok(Decoys::default());
        }
        self.close_pack();
        self.flush().await?;
        self.pack = Pack::new(UnitId::FIRST_DECOY);
        let mut decoys = Decoys::default();
        self.app.random(&mut decoys.seed);
        while decoys.count < wanted {
            let drawn = self.draw(decoys.count, OF_A_POOL.min(wanted - decoys.count)).await?;
            if drawn.is_empty() {
                break;
            }
            for input in drawn {
                self.pack.inputs.push(self.app.records.content(input.into()).await?);
                decoys.count += 1;
                if self.pack.is_full() {
                    self.close_pack();
                }
            }
            if self.writes.0.bytes() > GROUP_BYTES {
                self.flush().await?;
            }
        }
        self.close_pack();
        Ok(decoys)
    }

    fn wanted(&self) -> u32 {
        let manifest = &self.wish.job.manifest;
        // Where the operator's own machine executes all units, there is nobody to be fooled.
        let is_earned = matches!(self.wish.rule, Rule::Earned { level: Level::Adaptive | Level::Full, .. });
        if !is_earned || manifest.codec != Codec::Json || !self.wish.fields.can_be_made_up() {
            return 0;
        }
        let wanted = u64::from(self.inputs) * u64::from(self.app.settings.verification.decoys_permille) / 1000;
        u32::try_from(wanted).unwrap_or(self.inputs)
    }

    /// Draws up to `most` inputs for decoys from the `first` on, of some inputs that are drawn as well. None where nothing comes of them.
    async fn draw(&self, first: u32, most: u32) -> Answer<Vec<Vec<u8>>> {
        let pool = self.pool().await?;
        let mut seed = [0; 32];
        self.app.random(&mut seed);
        let (secrets, fields, run) = (self.app.secrets.clone(), self.wish.fields.clone(), self.id);
        let (owner, job) = (self.owner.clone(), self.wish.job.manifest.name.clone());
        let draw = move || -> Result<Vec<Vec<u8>>, VaultError> {
            // What is not JSON was not taken.
            let Ok(pool) = Pool::new(pool.iter().map(|input| &input[..])) else { return Ok(Vec::new()) };
            let mut drawn = Vec::new();
            for number in 0..most {
                let index = UnitId::FIRST_DECOY + first + drawn.len() as u32;
                let scope = Scope { tenant: &owner, job: &job, unit: UnitId { run, index } };
                seed[..4].copy_from_slice(&number.to_le_bytes());
                drawn.extend(secrets.make_up(&fields, &scope, &pool, seed)?);
            }
            Ok(drawn)
        };
        let drawn = tokio::task::spawn_blocking(draw).await.map_err(|error| ApiError::internal(&error))?;
        Ok(drawn.map_err(SecretsError::from)?)
    }

    /// Some inputs; none where they are too long for that.
    async fn pool(&self) -> Answer<Vec<Bytes>> {
        let mut drawn = [[0; 8]; PACKS];
        drawn.iter_mut().for_each(|drawn| self.app.random(drawn));
        let (run, inputs) = (self.id, self.inputs);
        let read = move |records: &Records| {
            let mut packs = BTreeMap::new();
            for drawn in drawn {
                let index = ((u128::from(u64::from_le_bytes(drawn)) * u128::from(inputs)) >> 64) as u32;
                let pack = records.inputs(UnitId { run, index })?;
                packs.insert(pack.first, pack.inputs);
            }
            Ok(packs.into_values().flatten().collect::<Vec<Content>>())
        };
        let (mut pool, mut bytes) = (Vec::new(), 0);
        for content in self.app.blocking(read).await? {
            let input = self.app.records.bytes(&content).await?;
            if bytes + input.len() <= POOL_BYTES_MAX {
                bytes += input.len();
                pool.push(input);
            }
        }
        Ok(if pool.len() > 1 { pool } else { Vec::new() })
    }
}
