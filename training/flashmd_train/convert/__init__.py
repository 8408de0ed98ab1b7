"""Import of metatrain checkpoints: a file of FlashMD, symplectic FlashMD or PET becomes a model file.

A checkpoint is read with metatrain's own code and its weights go into our modules. These are proved against
metatrain's, the exported graph against ours, and only then is a file written. A checkpoint is a pickle, of which only
tensors, plain values and metatrain's own records of them are read.
"""
