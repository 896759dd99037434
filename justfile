# The same verbs as `cargo xtask`; `just` alone lists them.

[private]
default:
    @just --list

# Add the wasm32 target and look for what a build needs
setup:
    cargo xtask setup

# Start a coordinator, three runners and two liars, and run real jobs over real data
demo:
    cargo xtask demo

# Measure what a verified unit costs, beside other systems
bench *names:
    cargo xtask bench {{names}}

# Build Debian packages of the coordinator, the runner and the tool
package:
    cargo xtask package

# Check everything: format, lints, licences, the pure core, all tests, documentation
test:
    cargo xtask test

# Search for inputs that break a decoder, guided by coverage
fuzz *options:
    cargo xtask fuzz {{options}}

# Look for values that workers must not see in everything that leaves towards them
canaries *options:
    cargo xtask canaries {{options}}

# Seal and compile modules that mean harm, within limits
hostile *options:
    cargo xtask hostile {{options}}

# Let cheats of every kind work for the scheduler in virtual time, beside other people's rules
sim *options:
    cargo xtask sim {{options}}

# Break everything that can break, often, and see that nothing acknowledged is lost
faults *options:
    cargo xtask faults {{options}}

# Format everything
fmt:
    cargo fmt --all
