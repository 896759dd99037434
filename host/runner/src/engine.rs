//! Executes a sealed module with wasmtime.
//!
//! Every execution gets a fresh instance, so that nothing passes from one unit to the next. How it ended
//! is read from typed state, never from an engine's message; whatever the machine and not the module
//! causes is [`Infrastructure`] and never a verdict.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use manyhands_abi as abi;
use manyhands_model::{Digest, Fuel, Limits, Outcome, Verdict};
use manyhands_protocol::Entry;
use serde::{Deserialize, Serialize};
use wasmtime::{
    Caller, Config, Engine, Extern, InstanceAllocationStrategy, InstancePre, Linker, Memory, Module, OptLevel,
    PoolingAllocationConfig, ResourceLimiter, Store, Trap,
};

/// What workers say they execute with.
pub const NAME: &str = "wasmtime 48";

/// Stack for guest code, in bytes. Fixed, because running out of it is a verdict.
const STACK_BYTES: usize = 512 << 10;
/// Bytes that the host copies for one point of fuel; a copy costs at least one.
const COPY_BYTES_PER_FUEL: u64 = 8;
/// Table elements that one instance may have; the sealer's cap.
const TABLE_ELEMENTS_MAX: usize = 10_000;
/// What the engine keeps of one instance, in bytes: about 40 for each of the sealer's 50,000 functions.
const INSTANCE_BYTES_MAX: usize = 4 << 20;

/// What is to be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Which function.
    pub entry: Entry,
    /// What it reads.
    pub input: Bytes,
    /// Its only randomness.
    pub seed: [u8; 32],
    /// What it may use.
    pub limits: Limits,
}

/// A line that the guest logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// 0 error, 1 warning, 2 info, 3 debug, 4 trace.
    pub level: u8,
    /// What it said.
    pub text: String,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// What is compared with other replicas.
    pub outcome: Outcome,
    /// The output; empty unless the verdict is `Ok`.
    pub output: Vec<u8>,
    /// For the author, never compared.
    pub logs: Vec<LogLine>,
    /// Time that the execution took on a clock, in microseconds.
    pub wall_us: u64,
}

/// The machine failed, not the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Infrastructure(pub String);

impl Infrastructure {
    fn of(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// The engine with its one set of settings. Cheap to clone.
#[derive(Clone)]
pub struct Wasm {
    engine: Engine,
    linker: Arc<Linker<Host>>,
}

/// A module, ready to be executed.
#[derive(Clone)]
pub struct Prepared(InstancePre<Host>);

impl Wasm {
    /// Sets the engine up. Reserves address space, and no memory yet.
    ///
    /// # Errors
    /// [`Infrastructure`] where the machine does not allow that.
    pub fn new() -> Result<Self, Infrastructure> {
        let engine = Engine::new(&config()).map_err(|error| Infrastructure::of("the engine cannot start", &error))?;
        let linker = linker(&engine).map_err(|error| Infrastructure::of("the engine cannot be linked", &error))?;
        Ok(Self { engine, linker: Arc::new(linker) })
    }

    /// Names everything that decides whether compiled code can be used: the engine's version, its settings
    /// and the processor's features.
    pub fn fingerprint(&self) -> Digest {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        Digest::of(&hasher.finish().to_le_bytes())
    }

    /// Compiles a sealed module to machine code.
    ///
    /// # Errors
    /// [`Infrastructure`]: a sealed module always compiles, so the machine is to blame.
    pub fn compile(&self, module: &[u8]) -> Result<Vec<u8>, Infrastructure> {
        self.engine.precompile_module(module).map_err(|error| Infrastructure::of("cannot be compiled", &error))
    }

    /// Makes machine code ready that [`Wasm::compile`] made.
    ///
    /// # Errors
    /// [`Infrastructure`] when it was made by another version or with other settings.
    #[expect(
        unsafe_code,
        reason = "machine code comes from our own compiler process or from our authenticated cache only"
    )]
    pub fn prepare(&self, compiled: &[u8]) -> Result<Prepared, Infrastructure> {
        // SAFETY: the parent process sends what a compiler process of this same executable made, or what
        // its cache holds under a keyed hash. Both happen outside of any process that ran guest code.
        let module = unsafe { Module::deserialize(&self.engine, compiled) };
        let module = module.map_err(|error| Infrastructure::of("compiled code cannot be used", &error))?;
        let ready = self.linker.instantiate_pre(&module);
        ready.map(Prepared).map_err(|error| Infrastructure::of("cannot be linked", &error))
    }

    /// Executes one unit in a fresh instance. `progress` hears of every hint that the guest gives.
    ///
    /// # Errors
    /// [`Infrastructure`].
    pub fn execute(
        &self,
        module: &Prepared,
        execution: Execution,
        progress: Box<dyn FnMut(u16) + Send>,
    ) -> Result<Executed, Infrastructure> {
        let Execution { entry, input, seed, limits } = execution;
        let host = Host {
            input,
            seed,
            limits,
            output: Vec::new(),
            logs: Vec::new(),
            log_bytes: 0,
            progress,
            memory: Growth::default(),
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| host);
        store.set_fuel(limits.fuel.0).map_err(|error| Infrastructure::of("fuel", &error))?;
        let started = Instant::now();
        let ended = (|| {
            let instance = module.0.instantiate(&mut store)?;
            let name = match entry {
                Entry::Run => abi::RUN,
                Entry::Reduce => abi::REDUCE,
            };
            instance.get_typed_func::<(), ()>(&mut store, name)?.call(&mut store, ())
        })();
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let left = store.get_fuel().unwrap_or(0);
        let host = store.into_data();
        if host.memory.refused_by_machine {
            return Err(Infrastructure("this machine has no memory left that the job may use".into()));
        }
        let verdict = verdict(ended, &host.output)?;
        let output = if verdict.is_ok() { host.output } else { Vec::new() };
        let fuel = match verdict {
            // How far below zero the last block went is the engine's affair.
            Verdict::OutOfFuel => limits.fuel,
            _ => Fuel(limits.fuel.0.saturating_sub(left)),
        };
        Ok(Executed { outcome: Outcome { verdict, fuel }, output, logs: host.logs, wall_us })
    }
}

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_core_instances(1).total_memories(1).total_tables(1).table_elements(TABLE_ELEMENTS_MAX);
    pool.max_core_instance_size(INSTANCE_BYTES_MAX);
    pool.max_memory_size(usize::try_from(Limits::MAX.memory_bytes).unwrap_or(usize::MAX));
    pool.linear_memory_keep_resident(1 << 20);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .consume_fuel(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK_BYTES)
        .memory_init_cow(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None);
    config
}

fn verdict(ended: Result<(), wasmtime::Error>, output: &[u8]) -> Result<Verdict, Infrastructure> {
    let Err(error) = ended else {
        return Ok(Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 });
    };
    if let Some(Aborted { code, message }) = error.downcast_ref() {
        return Ok(Verdict::Aborted { code: *code, message: message.clone() });
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Ok(Verdict::OutOfFuel),
        Some(Trap::StackOverflow) => Ok(Verdict::OutOfStack),
        Some(Trap::Interrupt) | None => Err(Infrastructure::of("the engine failed", &error)),
        Some(_) => Ok(Verdict::Trap),
    }
}

/// What the guest's host functions work on.
struct Host {
    input: Bytes,
    seed: [u8; 32],
    limits: Limits,
    output: Vec<u8>,
    logs: Vec<LogLine>,
    log_bytes: usize,
    progress: Box<dyn FnMut(u16) + Send>,
    memory: Growth,
}

#[derive(Default)]
struct Growth {
    allowed: bool,
    refused_by_machine: bool,
}

impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        most: Option<usize>,
    ) -> Result<bool, wasmtime::Error> {
        // Beyond the maximum that the module itself declares the engine would refuse, and call it a failure.
        let declared = most.is_none_or(|most| desired <= most);
        self.memory.allowed = declared && desired as u64 <= self.limits.memory_bytes;
        Ok(self.memory.allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<(), wasmtime::Error> {
        // A growth beyond the job's limit is refused on every machine; one below it only on a poor one.
        self.memory.refused_by_machine |= self.memory.allowed;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _most: Option<usize>,
    ) -> Result<bool, wasmtime::Error> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// How `abort` leaves the guest.
#[derive(Debug, thiserror::Error)]
#[error("aborted with code {code}: {message}")]
struct Aborted {
    code: u32,
    message: String,
}

type Result2<T> = Result<T, wasmtime::Error>;

fn linker(engine: &Engine) -> Result2<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let space = abi::NAMESPACE;
    linker.func_wrap(space, abi::INPUT_LEN, |caller: Caller<'_, Host>| caller.data().input.len() as u32)?;
    linker.func_wrap(space, abi::INPUT_READ, |mut caller: Caller<'_, Host>, to: u32, offset: u32, bytes: u32| {
        charge(&mut caller, bytes)?;
        let (memory, host) = guest(&mut caller)?;
        let source = range(offset, bytes).and_then(|range| host.input.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        range(to, bytes)
            .and_then(|range| memory.get_mut(range))
            .ok_or(Trap::MemoryOutOfBounds)?
            .copy_from_slice(source);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::SEED_READ, |mut caller: Caller<'_, Host>, to: u32| {
        let (memory, host) = guest(&mut caller)?;
        let place = range(to, abi::SEED_BYTES as u32).and_then(|range| memory.get_mut(range));
        place.ok_or(Trap::MemoryOutOfBounds)?.copy_from_slice(&host.seed);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::OUTPUT_WRITE, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        charge(&mut caller, bytes)?;
        let (memory, host) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let most = host.limits.output_bytes;
        if host.output.len() as u64 + u64::from(bytes) > most {
            let message =
                format!("the output is longer than {most} bytes; raise `limits.output_bytes` in the manifest");
            return Err(Aborted { code: abi::ABORT_OUTPUT, message }.into());
        }
        host.output.extend_from_slice(text);
        Ok(())
    })?;
    linker.func_wrap(space, abi::LOG, |mut caller: Caller<'_, Host>, level: u32, from: u32, bytes: u32| {
        charge(&mut caller, bytes)?;
        let (memory, host) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let room = abi::LOG_BYTES_MAX.saturating_sub(host.log_bytes);
        let text = clean(&text[..text.len().min(room)]);
        host.log_bytes += text.len().max(1);
        if room > 0 {
            host.logs.push(LogLine { level: level.min(4) as u8, text });
        }
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::PROGRESS, |mut caller: Caller<'_, Host>, permille: u32| {
        (caller.data_mut().progress)(permille.min(1000) as u16);
    })?;
    linker.func_wrap(space, abi::ABORT, |mut caller: Caller<'_, Host>, code: u32, from: u32, bytes: u32| {
        let (memory, _) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        Result2::<()>::Err(
            Aborted { code, message: clean(&text[..text.len().min(abi::ABORT_MESSAGE_BYTES_MAX)]) }.into(),
        )
    })?;
    Ok(linker)
}

/// The text in `bytes`, which may end inside a character, at most as long as they are.
fn clean(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // One replacement for all bytes that are none; three bytes long, so only where it fits.
        if chunk.invalid().len() >= char::REPLACEMENT_CHARACTER.len_utf8() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

fn range(from: u32, bytes: u32) -> Option<std::ops::Range<usize>> {
    let end = from.checked_add(bytes)?;
    Some(from as usize..end as usize)
}

/// Takes fuel for a copy by the host, by its length: what the guest makes others do is its own work.
fn charge(caller: &mut Caller<'_, Host>, bytes: u32) -> Result2<()> {
    let cost = 1 + u64::from(bytes) / COPY_BYTES_PER_FUEL;
    let left = caller.get_fuel()?;
    match left.checked_sub(cost) {
        Some(rest) => caller.set_fuel(rest),
        None => {
            caller.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

fn guest<'a>(caller: &'a mut Caller<'_, Host>) -> Result2<(&'a mut [u8], &'a mut Host)> {
    // The sealer made sure that there is one.
    let memory: Memory = caller.get_export(abi::MEMORY).and_then(Extern::into_memory).ok_or(Trap::MemoryOutOfBounds)?;
    Ok(memory.data_and_store_mut(caller))
}
