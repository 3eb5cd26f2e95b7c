//! A ring over a ring: it states what it changes, and the ring below does the rest.

use std::time::Duration;

use crate::base::{Buffer, BySide, Chunk, ConnIndex, Errno, GateId, Operation, ServerId, Side};
use crate::metrics::RingCounters;
use crate::ring::contract::{
    AcceptMode, Accepts, Buffers, Completion, FourTuple, Moves, Operations, Ring,
};
use crate::ring::token::Token;

/// The socket of the ring below a layer.
type SocketOf<L> = <<L as Layer>::Below as Moves>::Socket;

/// Declares [`Layer`]: each method of the contract, forwarded unless a layer has its own. The
/// signatures are the contract's, to which the compiler holds them.
macro_rules! layer {
    ($($concern:ident {
        $(type $named:ident = $of_below:ty;)?
        $(fn $name:ident(&$($own:ident)+ $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)+
    })+) => {
        /// A ring over a ring, for example one that seals the bytes that pass.
        ///
        /// It owns the ring below, and it is a [`Ring`] by this trait: a method of the contract
        /// that it does not have goes to the ring below. Everything is resolved when the program
        /// is compiled, so a forwarded call costs nothing.
        ///
        /// Its methods have the contract's names: a file that also calls a layer's as a [`Ring`]
        /// implements this trait without a `use` of it.
        pub trait Layer {
            /// The ring below.
            type Below: Ring;

            /// The ring below.
            fn below(&self) -> &Self::Below;

            /// The ring below, to ask something of it.
            fn below_mut(&mut self) -> &mut Self::Below;

            $($(
                #[doc = concat!("As [`", stringify!($concern), "::", stringify!($name), "`].")]
                #[inline]
                fn $name(&$($own)+ $(, $argument: $type)*) $(-> $result)? {
                    layer!(@below $($own)+).$name($($argument),*)
                }
            )+)+
        }

        $(
            impl<L: Layer> $concern for L {
                $(type $named = $of_below;)?
                $(
                    #[inline]
                    fn $name(&$($own)+ $(, $argument: $type)*) $(-> $result)? {
                        Layer::$name(layer!(@own $($own)+) $(, $argument)*)
                    }
                )+
            }
        )+
    };
    (@below mut $own:ident) => { $own.below_mut() };
    (@below $own:ident) => { $own.below() };
    (@own mut $own:ident) => { $own };
    (@own $own:ident) => { $own };
}

layer! {
    Accepts {
        fn slots(&self) -> u32;
        fn accept_room(&self) -> u32;
        fn best_accept_room(&self) -> u32;
        fn accept_burst(&self) -> u32;
        fn retarget_accepts(&mut self);
        fn accept(&mut self, gate: GateId, mode: AcceptMode);
        fn cancel_accepts(&mut self, gate: GateId);
        fn accept_queue(&self, gate: GateId) -> Result<u32, Errno>;
        fn watch_queue(&mut self, gate: GateId);
        fn add_gate(&mut self, gate: GateId);
        fn remove_gate(&mut self, gate: GateId);
    }
    Buffers {
        fn bytes(&self, chunk: Chunk) -> &[u8];
        fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8];
        fn fill(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Option<Chunk>;
        fn park(&mut self, chunk: Chunk) -> Option<Chunk>;
        fn place(&mut self, bytes: &[u8]) -> Option<Chunk>;
        fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk>;
        fn stretch(&self, chunk: Chunk, before_bytes: u32, behind_bytes: u32) -> Option<Chunk>;
        fn release(&mut self, buffer: Buffer);
        fn buffer_bytes(&self) -> u32;
        fn pool_buffers(&self) -> u32;
        fn free_buffers(&self) -> u32;
        fn returned_buffers(&mut self) -> u32;
        fn is_scarce(&self) -> bool;
        fn trim(&mut self);
    }
    Operations {
        fn add_server(&mut self, server: ServerId);
        fn remove_server(&mut self, server: ServerId);
        fn start(&mut self, token: Token, operation: Operation);
        fn addresses(&mut self, token: Token) -> Option<FourTuple>;
        fn end_splices(&mut self, conn: ConnIndex);
    }
    Moves {
        type Socket = SocketOf<Self>;
        fn lend(&mut self, conn: ConnIndex, generation: u32, side: Side);
        fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<SocketOf<Self>>;
        fn four_tuple(&self, socket: &SocketOf<Self>) -> Option<FourTuple>;
        fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno>;
        fn forget(&mut self, conn: ConnIndex, side: Side);
        fn adopt(&mut self, key: u32, sockets: BySide<Option<SocketOf<Self>>>);
    }
    Ring {
        fn turn(&mut self, wait: Option<Duration>) -> Result<(), Errno>;
        fn next(&mut self) -> Option<Completion>;
        fn is_behind(&mut self) -> bool;
        fn set_batch_wait(&mut self, wait: Duration);
        fn counters(&self) -> RingCounters;
    }
}
