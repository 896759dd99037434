//! Executes a sealed module with wasmtime.
//!
//! Every execution gets a fresh instance, so that nothing passes from one unit to the next. How it ended
//! is read from what the module itself wrote, never from an engine's message; whatever the machine and not
//! the module causes is [`Infrastructure`] and never a verdict. No setting here is part of what a module means:
//! fuel, stack, the bits of a NaN and the growth of memory are settled by code inside it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use manyhands_abi::{self as abi, text};
use manyhands_model::{Digest, Limits, Outcome, Verdict};
use manyhands_protocol::Entry;
use manyhands_verifier::ending::{self, Stop};
use serde::{Deserialize, Serialize};
use wasmtime::{
    Caller, Config, Engine, Extern, InstancePre, Linker, Memory, Module, ModuleExport, OptLevel, ResourceLimiter,
    Store, Trap, Val,
};

use crate::memory::{Memories, Pagemap};

/// What workers say they execute with.
pub const NAME: &str = "wasmtime 48";

/// Stack for guest code, in bytes: four times what the module counts for itself, so that it stops first.
const STACK_BYTES: usize = 1 << 20;
/// Table elements that one instance may have; the sealer's cap.
const TABLE_ELEMENTS_MAX: usize = 10_000;

/// What is to be executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Which function.
    pub entry: Entry,
    /// How many answers there are with the input.
    pub step: u32,
    /// What it reads; with answers, a frame of [`abi::parts`].
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
    /// The output if the verdict is `Ok`, the request if it is `Called`; else empty.
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
    knows_pages: bool,
}

/// A module, ready to be executed.
#[derive(Clone)]
pub struct Prepared {
    ready: InstancePre<Host>,
    memory: ModuleExport,
    meter: ModuleExport,
    cause: ModuleExport,
    run: ModuleExport,
    reduce: Option<ModuleExport>,
}

impl Wasm {
    /// Sets the engine up, for a process that may open files.
    ///
    /// # Errors
    /// [`Infrastructure`] where the machine does not allow that.
    pub fn new() -> Result<Self, Infrastructure> {
        Self::with_pagemap(Pagemap::open())
    }

    /// Sets the engine up. Without a page map it does the same and takes longer over each unit.
    ///
    /// # Errors
    /// [`Infrastructure`] where the machine does not allow that.
    pub fn with_pagemap(pagemap: Option<Pagemap>) -> Result<Self, Infrastructure> {
        let memories = Memories::new(pagemap);
        let knows_pages = memories.know_their_pages();
        let engine =
            Engine::new(&config(memories)).map_err(|error| Infrastructure::of("the engine cannot start", &error))?;
        let linker = linker(&engine).map_err(|error| Infrastructure::of("the engine cannot be linked", &error))?;
        Ok(Self { engine, linker: Arc::new(linker), knows_pages })
    }

    /// Whether memory is set back page by page, which is quicker.
    pub fn knows_pages(&self) -> bool {
        self.knows_pages
    }

    /// Names everything that decides whether compiled code can be used: the engine's version, its settings
    /// and the processor's features.
    pub fn fingerprint(&self) -> Digest {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        Digest::of(&hasher.finish().to_le_bytes())
    }

    /// Compiles a sealed module to machine code, once it is sure that it pays for whatever it does.
    ///
    /// # Errors
    /// [`Infrastructure`]: the module is not well sealed, whoever signed it. What is, always compiles, so
    /// otherwise the machine is to blame.
    pub fn compile(&self, module: &[u8]) -> Result<Vec<u8>, Infrastructure> {
        manyhands_verifier::verify(module).map_err(|fault| Infrastructure::of("cannot be compiled", &fault))?;
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
        let export = |name| module.get_export_index(name);
        let needed = |name| export(name).ok_or_else(not_sealed);
        let ready = self.linker.instantiate_pre(&module);
        Ok(Prepared {
            ready: ready.map_err(|error| Infrastructure::of("cannot be linked", &error))?,
            memory: needed(abi::MEMORY)?,
            meter: needed(abi::METER)?,
            cause: needed(abi::CAUSE)?,
            run: needed(abi::RUN)?,
            reduce: export(abi::REDUCE),
        })
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
        let Execution { entry, step, input, seed, limits } = execution;
        let (input, answers) = answered(step, input)?;
        let host = Host {
            input,
            answers: answers.into_iter(),
            answer: Bytes::new(),
            asked: 0,
            seed,
            limits,
            output: Vec::new(),
            logs: Vec::new(),
            log_bytes: 0,
            progress,
            memory: None,
        };
        let mut store = Store::new(&self.engine, host);
        store.limiter(|host| host);
        let started = Instant::now();
        let failed = |error| Infrastructure::of("cannot be started", &error);
        let instance = module.ready.instantiate(&mut store).map_err(failed)?;
        let entry = match entry {
            Entry::Run => Some(module.run),
            Entry::Reduce => module.reduce,
        };
        let mut exported = |export: ModuleExport| instance.get_module_export(&mut store, &export);
        let memory = exported(module.memory).and_then(Extern::into_memory);
        let meter = exported(module.meter).and_then(Extern::into_global).ok_or_else(not_sealed)?;
        let cause = exported(module.cause).and_then(Extern::into_global).ok_or_else(not_sealed)?;
        let entry = entry.and_then(exported).and_then(Extern::into_func).ok_or_else(not_sealed)?;
        store.data_mut().memory = memory;
        let fresh = meter.get(&mut store).i64().ok_or_else(not_sealed)?;
        meter.set(&mut store, Val::I64(ending::granted(fresh, limits.fuel))).map_err(failed)?;
        let ended = entry.typed::<(), ()>(&store).map_err(failed)?.call(&mut store, ());
        let wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let left = meter.get(&mut store).i64().ok_or_else(not_sealed)?;
        let cause = cause.get(&mut store).i32().ok_or_else(not_sealed)?;
        let host = store.into_data();
        let stop = stop(ended, &host.output)?;
        let outcome =
            ending::outcome(limits.fuel, stop, left, cause).map_err(|error| Infrastructure(error.to_string()))?;
        let output = if outcome.verdict.content().is_some() { host.output } else { Vec::new() };
        Ok(Executed { outcome, output, logs: host.logs, wall_us })
    }
}

/// The input, and the answers that came with it.
fn answered(step: u32, input: Bytes) -> Result<(Bytes, Vec<Bytes>), Infrastructure> {
    if step == 0 {
        return Ok((input, Vec::new()));
    }
    let parts = abi::parts::decode(&input).map_err(|error| Infrastructure::of("the answers cannot be read", &error))?;
    match parts.split_first() {
        Some((first, answers)) if answers.len() == step as usize => {
            Ok((input.slice_ref(first), answers.iter().map(|answer| input.slice_ref(answer)).collect()))
        }
        _ => Err(Infrastructure("there are more or fewer answers than the lease says".into())),
    }
}

fn not_sealed() -> Infrastructure {
    Infrastructure("the module does not export what sealed modules do".into())
}

fn config(memories: Memories) -> Config {
    let mut config = Config::new();
    config
        .with_host_memory(Arc::new(memories))
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK_BYTES)
        .memory_init_cow(false)
        // For stack traces, which nobody reads: a third of what is loaded.
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None);
    config
}

/// How the call came back, by the types of what the engine says and not by its words.
fn stop(ended: Result<(), wasmtime::Error>, output: &[u8]) -> Result<Stop, Infrastructure> {
    let Err(error) = ended else {
        return Ok(Stop::Known(Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 }));
    };
    match error.downcast_ref() {
        Some(Leave::Aborted { code, message }) => {
            return Ok(Stop::Known(Verdict::Aborted { code: *code, message: message.clone() }));
        }
        Some(Leave::Called) => {
            return Ok(Stop::Known(Verdict::Called { calls: Digest::of(output), calls_bytes: output.len() as u64 }));
        }
        None => {}
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow | Trap::Interrupt) => Ok(Stop::Engine),
        Some(_) => Ok(Stop::Trapped),
        None => Err(Infrastructure::of("the engine failed", &error)),
    }
}

/// What the guest's host functions work on.
struct Host {
    input: Bytes,
    /// Answers to requests that are still to come.
    answers: std::vec::IntoIter<Bytes>,
    /// The answers to the last request.
    answer: Bytes,
    /// How often it asked.
    asked: usize,
    seed: [u8; 32],
    limits: Limits,
    output: Vec<u8>,
    logs: Vec<LogLine>,
    log_bytes: usize,
    progress: Box<dyn FnMut(u16) + Send>,
    memory: Option<Memory>,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> Result2<bool> {
        // The module refuses this by itself; the volunteer's machine does not depend on it.
        Ok(desired as u64 <= self.limits.memory_bytes)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> Result2<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// How host functions leave the guest.
#[derive(Debug, thiserror::Error)]
enum Leave {
    #[error("aborted with code {code}: {message}")]
    Aborted { code: u32, message: String },
    /// The request is where the output would be.
    #[error("called")]
    Called,
}

type Result2<T> = Result<T, wasmtime::Error>;

fn linker(engine: &Engine) -> Result2<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let space = abi::NAMESPACE;
    linker.func_wrap(space, abi::INPUT_LEN, |caller: Caller<'_, Host>| caller.data().input.len() as u32)?;
    linker.func_wrap(space, abi::INPUT_READ, |mut caller: Caller<'_, Host>, to: u32, offset: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        copy(&host.input, memory, to, offset, bytes)
    })?;
    linker.func_wrap(space, abi::CALL, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let request = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let abort = |message| Err(Leave::Aborted { code: abi::ABORT_CALLS, message }.into());
        if request.len() > abi::CALLS_BYTES_MAX {
            return abort(text::calls_too_long());
        }
        host.asked += 1;
        if host.asked > abi::CALLS_MAX {
            return abort(text::too_many_calls());
        }
        match host.answers.next() {
            Some(answer) => {
                host.answer = answer;
                Result2::Ok(host.answer.len() as u32)
            }
            None => {
                host.output = request.to_vec();
                Err(Leave::Called.into())
            }
        }
    })?;
    linker.func_wrap(space, abi::ANSWER_READ, |mut caller: Caller<'_, Host>, to: u32, offset: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        copy(&host.answer, memory, to, offset, bytes)
    })?;
    linker.func_wrap(space, abi::SEED_READ, |mut caller: Caller<'_, Host>, to: u32| {
        let (memory, host) = guest(&mut caller)?;
        let place = range(to, abi::SEED_BYTES as u32).and_then(|range| memory.get_mut(range));
        place.ok_or(Trap::MemoryOutOfBounds)?.copy_from_slice(&host.seed);
        Result2::Ok(())
    })?;
    linker.func_wrap(space, abi::OUTPUT_WRITE, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let most = host.limits.output_bytes;
        if host.output.len() as u64 + u64::from(bytes) > most {
            return Err(Leave::Aborted { code: abi::ABORT_OUTPUT, message: text::output_too_long(most) }.into());
        }
        host.output.extend_from_slice(text);
        Ok(())
    })?;
    linker.func_wrap(space, abi::LOG, |mut caller: Caller<'_, Host>, level: u32, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let room = abi::LOG_BYTES_MAX.saturating_sub(host.log_bytes);
        let text = text::clean(&text[..text.len().min(room)]);
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
            Leave::Aborted { code, message: text::clean(&text[..text.len().min(abi::ABORT_MESSAGE_BYTES_MAX)]) }.into(),
        )
    })?;
    Ok(linker)
}

/// Copies what lies at `offset` of `source` to guest memory.
fn copy(source: &[u8], memory: &mut [u8], to: u32, offset: u32, bytes: u32) -> Result2<()> {
    let source = range(offset, bytes).and_then(|range| source.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
    range(to, bytes).and_then(|range| memory.get_mut(range)).ok_or(Trap::MemoryOutOfBounds)?.copy_from_slice(source);
    Ok(())
}

fn range(from: u32, bytes: u32) -> Option<std::ops::Range<usize>> {
    let end = from.checked_add(bytes)?;
    Some(from as usize..end as usize)
}

fn guest<'a>(caller: &'a mut Caller<'_, Host>) -> Result2<(&'a mut [u8], &'a mut Host)> {
    // The sealer made sure that there is one.
    let memory = caller.data().memory.ok_or(Trap::MemoryOutOfBounds)?;
    Ok(memory.data_and_store_mut(caller))
}
