"""What fixes a model: its kind, its sizes and its physical constants, checked before anything is built."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flashmd_train.settings import NotNegative, Positive, Strict


class BondKind(Strict):
    """½k(r − r₀)², or Morse's k/2a²·(1 − exp(−a(r − r₀)))², between atoms of two environments."""

    species: tuple[str, str] = Field(description="environments, as in O[C,H]: an element and what it is bonded to")
    constant_eV_per_A2: Positive = Field(description="k, eV/Å²")
    length_A: Positive = Field(description="r₀, Å")
    morse_per_A: NotNegative = Field(0.0, description="a, 1/Å; 0 for a harmonic bond")
    longest_A: Positive = Field(description="atoms of these elements nearer than this at the start are bonded, Å")


class AngleKind(Strict):
    """½k(θ − θ₀)² between two bonds that meet in an atom."""

    species: tuple[str, str, str] = Field(description="environments: end, middle, end")
    constant_eV_per_rad2: Positive = Field(description="k, eV/rad²")
    angle_rad: Positive = Field(description="θ₀, rad")


class BondedConfig(Strict):
    """Kinds of bonds and angles, with the constants that training starts from."""

    bonds: tuple[BondKind, ...] = Field(min_length=1, description="kinds of bonds")
    angles: tuple[AngleKind, ...] = Field((), description="kinds of angles")


class DirectConfig(Strict):
    """Everything that fixes a direct model; stored in checkpoints and in the provenance of exported files."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    stride_fs: Positive = Field(16.0, description="stride of the map, fs")
    cutoff_A: Positive = Field(6.0, description="cutoff of the neighbours, Å")
    backbone: Literal["lookahead", "edgemp", "painn", "pet"] = Field(
        "lookahead", description="network that predicts the slow forces"
    )
    prior: Literal["bonded", "free", "none"] = Field(
        "bonded",
        description="bonded: water's bonds and angle are known; free: Newton's second law alone; none: the network "
        "gives q' - q and p' itself, as published FlashMD does",
    )
    bonded: BondedConfig | None = Field(
        None,
        description="bonds and angles of any molecule, which flashmd-train bonded fits: the network drives them "
        "through the stride; null: water's own with prior bonded, or none",
    )
    momenta_as_difference: bool = Field(False, description="with prior none: the network gives p' - p instead of p'")
    inner_timestep_fs: Positive = Field(0.8, description="inner time step of the bonded prior, fs")
    lookahead_timestep_fs: Positive = Field(
        2.0, description="inner time step of the prior where the lookahead backbone evaluates it, fs"
    )
    legendre_orders: int = Field(5, ge=1, description="Legendre polynomials of time that make up the slow force")
    noise: bool = Field(
        False, description="predict the scale of what a stride cannot resolve; the runtime draws it anew each stride"
    )
    options: dict = Field({}, description="further arguments of the backbone")

    @property
    def coefficients(self) -> int:
        """Vectors per atom that the backbone gives: Legendre coefficients, or q' − q and p' themselves."""
        return 2 if self.prior == "none" else self.legendre_orders

    @model_validator(mode="after")
    def _difference_of_what_the_network_gives(self) -> DirectConfig:
        if self.prior == "none" and self.backbone != "pet":
            raise ValueError(f"prior none is for backbone pet; {self.backbone} gives forces: take prior free")
        if self.momenta_as_difference and self.prior != "none":
            raise ValueError("momenta_as_difference is for prior none; the others add to free flight by themselves")
        return self

    @model_validator(mode="after")
    def _bonds_of_the_settings(self) -> DirectConfig:
        if self.bonded is not None and (self.prior != "free" or self.backbone == "lookahead" or self.noise):
            raise ValueError(
                "bonded wants prior free, beside which it stands, noise false, and backbone edgemp, painn or pet: "
                "lookahead asks its prior where the atoms will be, and would not know the bonds"
            )
        return self


class EnergyConfig(Strict):
    """Everything that fixes an energy model."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    backbone: Literal["moments", "pet"] = Field(
        "moments", description="moments: pair terms and moments of the neighbours, rotations exactly; pet: learned"
    )
    options: dict = Field({}, description="of backbone pet, which the settings of moments below say nothing to")
    prior: Literal["bonded", "free"] = Field(
        "bonded", description="bonded: water's bonds and angle are known; free: no bonds are"
    )
    cutoff_A: Positive = Field(6.0, description="cutoff of the neighbours, Å")
    radial: int = Field(16, ge=2, description="number of radial functions")
    spacing: Annotated[float, Field(ge=1)] = Field(
        1.0, description="power of the distance in which they are evenly spaced; 2 makes them finer far out"
    )
    first_A: Positive = Field(
        1.2, description="where the first of them is, Å; 0.2 Å nearer they end, which no two atoms should come to"
    )
    hidden: int = Field(24, ge=1, description="learned vectors and scalars per atom, and quadrupoles")
    angular: Literal[1, 2] = Field(
        1, description="highest degree of the moments: 1, vectors; 2, also quadrupoles, which tell bond angles apart"
    )
    width: Positive = Field(1.0, description="width of the cutoff's flank, Å")

    @model_validator(mode="after")
    def _options_and_bonds_of_the_backbone(self) -> EnergyConfig:
        if self.backbone == "pet" and self.prior != "free":
            raise ValueError("backbone pet learns bonds itself: give prior: free")
        if self.backbone != "pet" and self.options:
            raise ValueError("options are of backbone pet; moments have settings of their own")
        return self


class ActionConfig(Strict):
    """Everything that fixes an action model, whose network is PET."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    stride_fs: Positive = Field(16.0, description="stride of the map, fs")
    cutoff_A: Positive = Field(4.5, description="cutoff of the neighbours, Å")
    options: dict = Field({}, description="preset and further settings of PET")


class SplittingConfig(Strict):
    """Everything that fixes a splitting model."""

    species: tuple[str, ...] = Field(("O", "H"), description="chemical symbols, in the order of the data")
    stride_fs: Positive = Field(2.0, description="stride of the map, fs")
    kicks: tuple[int, ...] = Field((0, 1, 0), description="number of the scalar of each kick; a palindrome")
    drifts: tuple[float, ...] = Field((0.5, 0.5), description="share of the stride of each drift between them")
    scalar: EnergyConfig = Field(EnergyConfig(), description="network of the scalars")
    inner_timestep_fs: Positive | None = Field(
        None,
        description="inner time step of r-RESPA, fs: bonds and angles act within the drifts; null: drifts are straight",
    )
    bonded: BondedConfig | None = Field(
        None,
        description="bonds and angles of any molecule, which flashmd-train bonded fits; null: water's own, or none",
    )
    pair_timestep_fs: Positive | None = Field(
        None, description="time step of tabulated pair forces within the drifts, fs; null: the scalars have them"
    )
    mollified: bool = Field(
        False, description="scalars are evaluated with bonds at their rest lengths, so that kicks do not excite them"
    )
    repulsion_eV: NotNegative = Field(
        0.02, description="energy of the repulsive wall at the closest approach in the data, eV"
    )

    @model_validator(mode="after")
    def _alternating(self) -> SplittingConfig:
        if self.scalar.backbone != "moments":
            raise ValueError("the scalars of a splitting are of backbone moments")
        if self.bonded is not None and (self.inner_timestep_fs is None or self.scalar.prior != "free"):
            raise ValueError("bonded wants inner_timestep_fs, the time step of its bonds, and scalar.prior free")
        if len(self.kicks) != len(self.drifts) + 1:
            raise ValueError(
                f"got {len(self.kicks)} kicks and {len(self.drifts)} drifts, wanted one kick more than drifts"
            )
        return self

    @property
    def cutoff_A(self) -> float:
        """Cutoff of the scalars, Å."""
        return self.scalar.cutoff_A
