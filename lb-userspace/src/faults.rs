//! Faults for tests: any of the three layers that stop an avalanche can be taken away, to see that each of the others
//! is enough alone. Without the feature `faults`, which no product is built with, there is no way to do so.

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

/// Which layers are taken away: none, unless a test says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    off: [bool; 3],
}

impl Faults {
    /// These layers are taken away.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn without(layers: &[Layer]) -> Self {
        Self { off: [Layer::Guard, Layer::Engine, Layer::Edge].map(|layer| layers.contains(&layer)) }
    }

    /// Whether a layer is taken away.
    #[must_use]
    pub const fn is_off(self, layer: Layer) -> bool {
        #[cfg(feature = "faults")]
        return self.off[layer as usize];
        #[cfg(not(feature = "faults"))]
        {
            let _nothing_can_be_off = layer;
            false
        }
    }
}
