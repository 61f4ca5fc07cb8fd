//! What a role does every ten minutes only.
use evenkeel::failpoint::Op;

pub const OPS: [Op; 4] = [
    Op::StoreCollect,
    Op::GitRepack,
    Op::GitDropPack,
    Op::GitRemoveMirror,
];
