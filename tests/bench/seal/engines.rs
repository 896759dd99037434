//! wasmtime in this process, with the settings that are compared.

use std::time::{Duration, Instant};

use manyhands_abi as abi;
use manyhands_model::{Digest, Fuel, Limits, Verdict};
use manyhands_verifier::ending::{self, Stop};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{
    Caller, Config, Enabled, Engine, Extern, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Store, Trap, Val,
};

use super::forms::Forms;
use super::{Measured, Times, Variant};

/// How long a unit should take at least: long beside what the clock costs, short beside a turn of the processor.
const UNIT: Duration = Duration::from_millis(3);
/// How often the variants of a kernel are compiled and put to other addresses: at some, the same code takes much longer.
const PLACES: usize = 5;
/// Memory of an instance, at most.
const MEMORY_BYTES: usize = 64 << 20;
/// Fuel that is never used up.
const FUEL: Fuel = Limits::MAX.fuel;

/// What host functions work on; as cheap as they can be, and the same for all variants.
struct Host {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A module in an engine whose settings make short units quickest, without anything else around it.
pub(crate) struct Bare {
    setting: Setting,
    module: Module,
}

impl Bare {
    pub(crate) fn new(module: &[u8]) -> Self {
        let setting = Setting::pooled(1 << 20, |config, pool| {
            // What a unit touched is set back, and nothing else.
            pool.pagemap_scan(Enabled::Auto);
            config.memory_init_cow(true).wasm_backtrace_max_frames(None);
        });
        let module = Module::new(&setting.engine, module).expect("compiles");
        Self { setting, module }
    }

    /// A unit with an empty input, which a kernel refuses, from a fresh instance until it is gone: microseconds of each.
    pub(crate) fn units(&self, count: usize) -> Vec<f64> {
        let module = self.setting.linker.instantiate_pre(&self.module).expect("links");
        (0..count)
            .map(|_| {
                let began = Instant::now();
                let mut store = Store::new(&self.setting.engine, Host { input: Vec::new(), output: Vec::new() });
                let instance = module.instantiate(&mut store).expect("instantiates");
                let meter = instance.get_global(&mut store, abi::METER).expect("is sealed");
                let granted = ending::granted(meter.get(&mut store).unwrap_i64(), FUEL);
                meter.set(&mut store, Val::I64(granted)).expect("the meter can be set");
                let function = instance.get_typed_func::<(), ()>(&mut store, abi::RUN).expect("is exported");
                assert!(function.call(&mut store, ()).is_err(), "an empty input is refused");
                drop(store);
                began.elapsed().as_nanos() as f64 / 1000.0
            })
            .collect()
    }
}

/// One engine for each setting.
pub(crate) struct Engines {
    plain: Setting,
    fuel: Setting,
    epochs: Setting,
    nan: Setting,
}

struct Setting {
    engine: Engine,
    linker: Linker<Host>,
}

/// A module, ready to be executed.
struct Loaded<'a> {
    setting: &'a Setting,
    module: InstancePre<Host>,
    variant: Variant,
}

/// One execution.
struct Execution {
    ns: f64,
    output: u64,
    fuel: Option<u64>,
}

impl Engines {
    pub(crate) fn new() -> Self {
        Self {
            plain: Setting::new(|_| {}),
            fuel: Setting::new(|config| _ = config.consume_fuel(true)),
            epochs: Setting::new(|config| _ = config.epoch_interruption(true)),
            nan: Setting::new(|config| _ = config.cranelift_nan_canonicalization(true)),
        }
    }

    /// How many rounds make a unit of about [`UNIT`].
    pub(crate) fn rounds(&self, forms: &Forms) -> u32 {
        let loaded = self.plain.load(&forms.unsealed, Variant::Unsealed);
        let one = (0..5).map(|_| loaded.execute(1).ns).fold(f64::INFINITY, f64::min);
        (UNIT.as_nanos() as f64 / one).ceil() as u32
    }

    /// Executes all variants in turn, each turn beginning with another one.
    pub(crate) fn measure(&self, forms: &Forms, rounds: u32, repetitions: usize) -> Measured {
        // All of them stay, so that none gets the place of one before.
        let places: Vec<Vec<Loaded<'_>>> = (0..PLACES).map(|_| self.load(forms)).collect();
        let first: Vec<Execution> = places[0].iter().map(|loaded| loaded.execute(rounds)).collect();
        let output = first[0].output;
        let mut fuel = None;
        for (execution, loaded) in first.iter().zip(&places[0]) {
            assert_eq!(execution.output, output, "{}: {} answers otherwise", forms.name, loaded.variant.word());
            if loaded.variant == Variant::Sealed {
                fuel = execution.fuel;
            }
        }
        let mut times = Times::new();
        for repetition in 0..repetitions {
            let loaded = &places[repetition % PLACES];
            for at in 0..loaded.len() {
                let loaded = &loaded[(at + repetition) % loaded.len()];
                times.entry(loaded.variant).or_default().push(loaded.execute(rounds).ns);
            }
        }
        Measured { times, output, fuel }
    }

    fn load(&self, forms: &Forms) -> Vec<Loaded<'_>> {
        Variant::ALL
            .into_iter()
            .map(|variant| match variant {
                Variant::Unsealed => self.plain.load(&forms.unsealed, variant),
                Variant::Metered => self.plain.load(&forms.metered, variant),
                Variant::Sealed => self.plain.load(&forms.sealed, variant),
                Variant::EngineFuel => self.fuel.load(&forms.unsealed, variant),
                Variant::EngineEpochs => self.epochs.load(&forms.unsealed, variant),
                Variant::EngineNan => self.nan.load(&forms.unsealed, variant),
                Variant::Control => self.plain.load(&forms.control, variant),
            })
            .collect()
    }

    /// What the module that counts block by block uses.
    pub(crate) fn exact_fuel(&self, forms: &Forms, rounds: u32) -> Option<u64> {
        self.plain.load(&forms.exact, Variant::Sealed).execute(rounds).fuel
    }
}

impl Setting {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        // Pages stay, so that page faults are not measured.
        Self::pooled(MEMORY_BYTES, |config, _| {
            config.memory_init_cow(false);
            change(config);
        })
    }

    fn pooled(resident_bytes: usize, change: impl FnOnce(&mut Config, &mut PoolingAllocationConfig)) -> Self {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_core_instances(1).total_memories(1).total_tables(1).table_elements(10_000);
        pool.max_memory_size(MEMORY_BYTES).max_core_instance_size(4 << 20).linear_memory_keep_resident(resident_bytes);
        let mut config = Config::new();
        change(&mut config, &mut pool);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("the engine starts");
        let linker = linker(&engine).expect("the engine links");
        Self { engine, linker }
    }

    fn load(&self, module: &[u8], variant: Variant) -> Loaded<'_> {
        let module = Module::new(&self.engine, module).expect("compiles");
        Loaded { setting: self, module: self.linker.instantiate_pre(&module).expect("links"), variant }
    }
}

impl Loaded<'_> {
    /// Executes in a fresh instance, and measures the call alone.
    fn execute(&self, rounds: u32) -> Execution {
        let host = Host { input: rounds.to_le_bytes().to_vec(), output: Vec::with_capacity(8) };
        let mut store = Store::new(&self.setting.engine, host);
        match self.variant {
            Variant::EngineFuel => store.set_fuel(u64::MAX).expect("fuel is on"),
            Variant::EngineEpochs => store.set_epoch_deadline(1),
            _ => {}
        }
        let instance = self.module.instantiate(&mut store).expect("instantiates");
        let meter = instance.get_global(&mut store, abi::METER);
        if let Some(meter) = meter {
            let granted = ending::granted(meter.get(&mut store).unwrap_i64(), FUEL);
            meter.set(&mut store, Val::I64(granted)).expect("the meter can be set");
        }
        let function = instance.get_typed_func::<(), ()>(&mut store, abi::RUN).expect("is exported");
        let began = processor_time();
        let ended = function.call(&mut store, ());
        let ns = (processor_time() - began).as_nanos() as f64;
        ended.expect("the kernel comes to its end");
        let fuel = meter.map(|meter| {
            let meter = meter.get(&mut store).unwrap_i64();
            let cause =
                instance.get_global(&mut store, abi::CAUSE).map_or(0, |cause| cause.get(&mut store).unwrap_i32());
            let returned = Stop::Known(Verdict::Ok { output: Digest([0; 32]), output_bytes: 8 });
            let outcome = ending::outcome(FUEL, returned, meter, cause).expect("an outcome");
            assert!(outcome.verdict.is_ok(), "ended as {:?}", outcome.verdict);
            outcome.fuel.0
        });
        let output = store.into_data().output.try_into().expect("a checksum");
        Execution { ns, output: u64::from_le_bytes(output), fuel }
    }
}

/// Time that this thread had a processor.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn linker(engine: &Engine) -> Result<Linker<Host>, wasmtime::Error> {
    let mut linker = Linker::new(engine);
    let space = abi::NAMESPACE;
    linker.func_wrap(space, abi::INPUT_LEN, |caller: Caller<'_, Host>| caller.data().input.len() as u32)?;
    linker.func_wrap(space, abi::INPUT_READ, |mut caller: Caller<'_, Host>, to: u32, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let source = range(from, bytes).and_then(|range| host.input.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        let place = range(to, bytes).and_then(|range| memory.get_mut(range)).ok_or(Trap::MemoryOutOfBounds)?;
        place.copy_from_slice(source);
        wasmtime::Result::Ok(())
    })?;
    linker.func_wrap(space, abi::OUTPUT_WRITE, |mut caller: Caller<'_, Host>, from: u32, bytes: u32| {
        let (memory, host) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).ok_or(Trap::MemoryOutOfBounds)?;
        host.output.extend_from_slice(text);
        wasmtime::Result::Ok(())
    })?;
    linker.func_wrap(space, abi::ABORT, |mut caller: Caller<'_, Host>, code: u32, from: u32, bytes: u32| {
        let (memory, _) = guest(&mut caller)?;
        let text = range(from, bytes).and_then(|range| memory.get(range)).unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        wasmtime::Result::<()>::Err(wasmtime::Error::msg(format!("aborted with code {code}: {text}")))
    })?;
    // No kernel calls these, but the module may import them.
    linker.func_wrap(space, abi::SEED_READ, |_: u32| {})?;
    linker.func_wrap(space, abi::LOG, |_: u32, _: u32, _: u32| {})?;
    linker.func_wrap(space, abi::PROGRESS, |_: u32| {})?;
    Ok(linker)
}

fn range(from: u32, bytes: u32) -> Option<std::ops::Range<usize>> {
    Some(from as usize..from.checked_add(bytes)? as usize)
}

fn guest<'a>(caller: &'a mut Caller<'_, Host>) -> wasmtime::Result<(&'a mut [u8], &'a mut Host)> {
    let memory = caller.get_export(abi::MEMORY).and_then(Extern::into_memory).ok_or(Trap::MemoryOutOfBounds)?;
    Ok(memory.data_and_store_mut(caller))
}
