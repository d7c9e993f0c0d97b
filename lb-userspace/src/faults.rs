//! Faults for tests and drills: any of the three layers that stop an avalanche can be taken away, to see that each of
//! the others is enough alone. It takes the feature `faults`, which no product is built with, or a [`Jail`], in which
//! production does not exist.

use crate::recovery::drill::Jail;

/// One of the three layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The guard of the API.
    Guard,
    /// The ledger's engine: its checks, and the triggers of its file.
    Engine,
    /// The edge, which holds what would remove too much.
    Edge,
}

/// Which layers are taken away: none, unless a test or a drill says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    off: [bool; 3],
}

impl Faults {
    /// These layers are taken away.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn without(layers: &[Layer]) -> Self {
        Self::off(layers)
    }

    /// These layers are taken away from what runs in a drill's jail.
    #[must_use]
    pub fn of_drill(layers: &[Layer], _: &Jail) -> Self {
        Self::off(layers)
    }

    fn off(layers: &[Layer]) -> Self {
        Self { off: [Layer::Guard, Layer::Engine, Layer::Edge].map(|layer| layers.contains(&layer)) }
    }

    /// Whether a layer is taken away.
    #[must_use]
    pub const fn is_off(self, layer: Layer) -> bool {
        self.off[layer as usize]
    }
}
